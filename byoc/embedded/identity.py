"""What an instance needs before its processes can trust each other: certificate, root key, addresses.

Each function may be killed and run again; what exists is kept.
"""

import json
from typing import Final

from byoc import durable
from byoc.embedded.files import write_json
from byoc.embedded.places import Places
from byoc.embedded.programs import gateway_url

_NAMES: Final = ("localhost", "127.0.0.1")


def make_gateway_certificate(places: Places) -> None:
    """Give the gateway a certificate of an authority made for it alone, whose key is then forgotten."""
    key = places.gateway / "tls.key"
    if key.exists():
        return
    # Imported here: most starts find the certificate made.
    from byoc.wire.certificates import make_authority, make_server_certificate  # noqa: PLC0415

    durable.make_folder(places.gateway)
    authority = make_authority()
    certificate = make_server_certificate(authority, _NAMES)
    durable.write_file(places.gateway / "ca.crt", authority.certificate_pem)
    durable.write_file(places.gateway / "tls.crt", certificate.certificate_pem)
    # Last: its presence says that the other two are there.
    durable.write_file(key, certificate.key_pem)


def trust_root(places: Places) -> None:
    """Give the gateway the public half of the control plane's root key, which it checks logins against."""
    from byoc.wire.keys import SigningKey  # noqa: PLC0415 - cryptography is slow to load

    pinned = places.gateway / "root.json"
    private = json.loads((places.controlplane / "keys" / "root.json").read_text(encoding="utf-8"))
    public = SigningKey.from_private_jwk(private).public.jwk()
    if not pinned.exists() or json.loads(pinned.read_text(encoding="utf-8")) != public:
        write_json(pinned, public)


def point_cell_at_gateway(places: Places, port: int) -> None:
    """Tell the cell which gateway to dial and which authority vouches for it."""
    durable.make_folder(places.cell)
    write_json(
        places.cell / "config.json",
        {"gateway": gateway_url(port), "ca": str(places.gateway / "ca.crt")},
    )
