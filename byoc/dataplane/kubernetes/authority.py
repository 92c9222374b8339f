"""Who vouches for the cell's engines: an authority made in the cell, and the secrets that hang on it.

Opened by the runtime. The invariants: the authority's key is made here and never leaves the cell; two
agents that begin together end up with the same one; an engine's certificate is made anew long before it
ends, and left alone until then.
"""

import base64
import secrets as random
from datetime import datetime
from typing import Final

from byoc.cell.incluster import NAMESPACE, STATE_PREFIX
from byoc.clock import Clock
from byoc.dataplane.kubernetes import engine_files, kinds, manifests, names
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.errors import ByocError, Conflict, Failed
from byoc.ids import WorkspaceID
from byoc.wire.certificates import (
    SERVER_LIFE,
    Certificate,
    expires_at,
    make_authority,
    make_server_certificate,
)
from byoc.wire.derive import SEED_BYTES, derived

SECRET: Final = f"{STATE_PREFIX}ca"
RENEW_BEFORE: Final = SERVER_LIFE / 3
"""A certificate with less left than this is made anew."""


class Authority:
    """The cell's authority.

    Attributes:
        certificate: PEM of its certificate, which clients trust.
    """

    def __init__(self, pair: Certificate, seed: bytes, settings: ClusterSettings, clock: Clock) -> None:
        self._pair = pair
        self._seed = seed
        self._settings = settings
        self._clock = clock
        self.certificate = pair.certificate.decode()

    @classmethod
    async def open(cls, cluster: Cluster, settings: ClusterSettings, clock: Clock) -> "Authority":
        """Read the authority, or make it.

        Raises:
            Failed: what is there is damaged; it is not replaced, because engines and clients trust it.
            Unreachable, Forbidden, …: the cluster.
        """
        found = await cluster.get(kinds.SECRET, SECRET, NAMESPACE)
        if found is None:
            try:
                found = await cluster.create(_made(clock.now()))
            except Conflict:
                found = await cluster.get(kinds.SECRET, SECRET, NAMESPACE) or {}
        try:
            data = {name: base64.b64decode(text) for name, text in found["data"].items()}
            pair = Certificate(data["ca.crt"], data["ca.key"])
            expires_at(pair.certificate)
            return cls(pair, data["seed"], settings, clock)
        except (KeyError, ValueError, AttributeError, ByocError) as error:
            message = f"Secret {NAMESPACE}/{SECRET} is damaged"
            raise Failed(message, hint="put it back from a backup, or remove it for a new one") from error

    def password(self, workspace: WorkspaceID) -> str:
        """Return the password of our account in a workspace's engine."""
        return derived(self._seed, f"engine/{workspace}")

    def secrets(self, workspace: WorkspaceID, held: Json | None) -> manifests.Secrets:
        """Return what an engine's Secret is to hold: of ``held``, what is there, all that is still good."""
        data = {name: base64.b64decode(text) for name, text in ((held or {}).get("data") or {}).items()}
        pair = Certificate(data.get("tls.crt", b""), data.get("tls.key", b""))
        if data.get("ca.crt") != self._pair.certificate or not self._good(pair):
            hosts = names.hosts(workspace, self._settings)
            pair = make_server_certificate(self._pair, names=hosts, now=self._clock.now())
        return manifests.Secrets(
            engine_files.accounts(self.password(workspace)),
            pair.certificate.decode(),
            pair.key.decode(),
            self.certificate,
        )

    def _good(self, pair: Certificate) -> bool:
        return bool(pair.key) and lasts(pair.certificate, self._clock.now())


def lasts(certificate: bytes, now: datetime) -> bool:
    """Whether a certificate, PEM, need not be made anew yet."""
    try:
        return expires_at(certificate) - now > RENEW_BEFORE
    except ByocError:
        return False


def _made(now: datetime) -> Json:
    pair = make_authority(name="byoc cell", now=now)
    values = {"ca.crt": pair.certificate, "ca.key": pair.key, "seed": random.token_bytes(SEED_BYTES)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in values.items()},
    }
