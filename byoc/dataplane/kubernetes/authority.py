"""Who vouches for the cell's engines: an authority made in the cell, and the secrets that hang on it.

Opened by the runtime, which has it look after itself. The invariants: an authority's key is made here and
never leaves the cell; two agents that begin together end up with the same one; an engine's certificate is
made anew long before it ends, or when another authority signs, and left alone until then; who is trusted
changes by :mod:`succession` only.
"""

import base64
import secrets as random
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

from lightkube import Client
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from byoc import log
from byoc.cell.incluster import NAMESPACE, STATE_PREFIX
from byoc.clock import Clock
from byoc.dataplane.kubernetes import engine_files, kinds, manifests, names
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.connect import translated
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.kubernetes.succession import Succession, Wish
from byoc.errors import ByocError, Conflict, Failed
from byoc.ids import WorkspaceID, new_id
from byoc.model import report
from byoc.wire import certificates
from byoc.wire.certificates import SERVER_LIFE, Certificate, fingerprint, make_server_certificate
from byoc.wire.derive import SEED_BYTES, derived

SECRET: Final = f"{STATE_PREFIX}ca"
WISH: Final = "byoc.dev/authority"
"""Annotation of the Secret: ``next`` or ``now`` asks for a new authority; taken away once it is heard."""
LOOK_SECONDS: Final = 300.0
"""How often the authority looks after itself; who asks for another one is heard within that."""
RENEW_BEFORE: Final = SERVER_LIFE / 3
"""A certificate with less left than this is made anew."""
_REMEMBERED: Final = 4096
_LOG: Final = log.get(__name__)


class Authority:
    """The cell's authorities, of which one signs."""

    def __init__(self, found: Json, cluster: Cluster, settings: ClusterSettings, clock: Clock) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._take(found)

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
        return cls(found, cluster, settings, clock)

    def _take(self, found: Json) -> None:
        try:
            data = {name: base64.b64decode(text) for name, text in found["data"].items()}
            self._line, self._seed = Succession.from_data(data), data["seed"]
        except (KeyError, ValueError, AttributeError, ByocError) as error:
            message = f"Secret {NAMESPACE}/{SECRET} is damaged"
            raise Failed(message, hint="put it back from a backup, or remove it for a new one") from error
        self.certificate = b"".join(self._line.trusted).decode()
        """PEM of all that clients are to trust."""
        self.told: tuple[report.Authority, ...] = self._line.told
        """The same as the cell reports it."""

    async def run(self, shown: Callable[[], Iterable[bytes]]) -> None:
        """Look after itself until cancelled; ``shown`` are the certificates that running engines show."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                await self.look_after(shown())
            except ByocError as error:
                _LOG.warning("authority not looked after", error=error.message)

    async def look_after(self, shown: Iterable[bytes]) -> None:
        """Have the next authority follow where it is time, or where somebody asked for it.

        Raises:
            Failed: it is damaged, or was removed.
            Unreachable, Forbidden, Conflict, …: nothing was changed; try again later.
        """
        found = await self._cluster.get(kinds.SECRET, SECRET, NAMESPACE) or {}
        self._take(found)
        wish, renewed = _wish(found), all(self.signed(each) for each in shown)
        line = self._line.advanced(self._clock.now(), wish, new_id, renewed=renewed)
        if line == self._line and wish is None:
            return
        # With the version: whoever leads by now may have gone on from here.
        version = {"resourceVersion": found["metadata"]["resourceVersion"], "annotations": {WISH: None}}
        change: Json = {"metadata": version, "data": line.to_data()}
        self._take(await self._cluster.merge(kinds.SECRET, SECRET, change, NAMESPACE))
        _LOG.warning("authority", trusted=[fingerprint(each) for each in self._line.trusted])

    def password(self, workspace: WorkspaceID) -> str:
        """Return the password of our account in a workspace's engine."""
        return derived(self._seed, f"engine/{workspace}")

    def secrets(self, workspace: WorkspaceID, held: Json | None) -> manifests.Secrets:
        """Return what an engine's Secret is to hold: of ``held``, what is there, all that is still good."""
        pair = _pair((held or {}).get("data") or {})
        if not certificates.belongs(pair) or not self.stands(pair.certificate):
            hosts = names.hosts(workspace, self._settings)
            pair = make_server_certificate(self._line.signing, names=hosts, now=self._clock.now())
        return manifests.Secrets(
            engine_files.accounts(self.password(workspace)),
            pair.certificate.decode(),
            pair.key.decode(),
            self.certificate,
        )

    def stands(self, certificate: bytes) -> bool:
        """Whether an engine's certificate, PEM, need not be made anew."""
        return self.signed(certificate) and lasts(certificate, self._clock.now())

    def signed(self, certificate: bytes) -> bool:
        """Whether it is of the authority that signs now."""
        return _issued(self._line.signing.certificate, certificate)


_issued: Final = lru_cache(_REMEMBERED)(certificates.issued)
_expires_at: Final = lru_cache(_REMEMBERED)(certificates.expires_at)


def lasts(certificate: bytes, now: datetime) -> bool:
    """Whether a certificate, PEM, does not end soon."""
    try:
        return _expires_at(certificate) - now > RENEW_BEFORE
    except ByocError:
        return False


def ask_for_another(client: Client, at_once: bool) -> None:
    """Ask as a person in the cluster would.

    Raises:
        ByocError: it was not asked for.
    """
    wish = Wish.NOW if at_once else Wish.NEXT
    change = {"metadata": {"annotations": {WISH: wish.value}}}
    with translated(f"Secret {SECRET}"):
        client.patch(Secret, SECRET, change, patch_type=PatchType.MERGE)


def _pair(data: Json) -> Certificate:
    held = {name: base64.b64decode(str(data.get(name, ""))) for name in ("tls.crt", "tls.key")}
    return Certificate(held["tls.crt"], held["tls.key"])


def _wish(found: Json) -> Wish | None:
    said = (found["metadata"].get("annotations") or {}).get(WISH, "")
    return Wish(said) if said in set(Wish) else None


def _made(now: datetime) -> Json:
    seed = base64.b64encode(random.token_bytes(SEED_BYTES)).decode()
    held = {name: text for name, text in Succession.first(new_id, now).to_data().items() if text}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
        "data": {**held, "seed": seed},
    }
