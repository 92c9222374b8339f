"""What an instance needs before its processes can trust each other: certificate, root key, addresses.

Each function may be killed and run again; what exists and is still good is kept.
"""

import json
from datetime import datetime, timedelta
from typing import Final

from byoc import durable
from byoc.embedded.files import read_json, write_json
from byoc.embedded.places import Places
from byoc.embedded.programs import RECONNECT_CAP, gateway_url

_RENEW_BEFORE: Final = timedelta(days=30)


def make_gateway_certificate(places: Places, now: datetime) -> None:
    """Give the gateway a certificate of an authority made for it alone, whose key is forgotten at once.

    Made anew when it is about to expire; the cell reads the authority each time it starts.
    """
    # Imported here: cryptography is slow to load, and commands that only look need none of it.
    from byoc.wire import certificates  # noqa: PLC0415

    key, certificate = places.gateway / "tls.key", places.gateway / "tls.crt"
    if key.exists() and certificates.expires_at(certificate.read_bytes()) > now + _RENEW_BEFORE:
        return
    durable.make_folder(places.gateway)
    authority = certificates.make_authority(name="byoc embedded gateway", now=now)
    made = certificates.make_server_certificate(authority, now=now)
    durable.remove(key)
    durable.write_file(places.gateway / "ca.crt", authority.certificate)
    durable.write_file(certificate, made.certificate)
    # Last: its presence says that the other two belong to it.
    durable.write_file(key, made.key)


def trust_root(places: Places) -> None:
    """Give the gateway the public half of the control plane's root key, which it checks logins against."""
    from byoc.wire.keys import SigningKey  # noqa: PLC0415 - cryptography is slow to load

    pinned = places.gateway / "root.json"
    private = json.loads((places.controlplane / "keys" / "root.json").read_text(encoding="utf-8"))
    public = SigningKey.from_private_jwk(private).public.jwk()
    if read_json(pinned) != public:
        write_json(pinned, public)


def point_cell_at_gateway(places: Places, port: int) -> None:
    """Tell the cell which gateway to dial and which authority vouches for it."""
    durable.make_folder(places.cell)
    config = places.cell / "config.json"
    known = read_json(config) or {}
    wanted = known | {
        "gateway": gateway_url(port),
        "ca": str(places.gateway / "ca.crt"),
        "reconnectCap": RECONNECT_CAP,
    }
    if wanted != known:
        write_json(config, wanted)
