"""The cell's memory as objects of its cluster: ConfigMaps, and Secrets for passwords and keys.

The storage of an agent in a cluster; made by :func:`take_over` when the agent begins to lead. Records
are spread over a fixed number of objects, *buckets*, and every write names the version of its bucket
that it was made from. A new leader writes its epoch into every bucket before it reads them. So the
invariants: whoever was deposed changes nothing, also not by a write that it began while it led, nor by
making what was not there; what :meth:`ObjectStorage.change` has returned from is in the cluster's own
store; and where that cannot be reached it fails at once or within two seconds, and nothing has changed.
"""

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from lightkube import Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret
from lightkube.types import PatchType

from byoc import log
from byoc.cell.incluster import KEYS, NAMESPACE, STATE_PREFIX
from byoc.clock import Clock
from byoc.dataplane.kubernetes.connect import translated
from byoc.dataplane.meter import HEARTBEAT
from byoc.dataplane.storage import NAMED_BY_ID, Deposed, Shelf, broken, is_id
from byoc.dataplane.volumes import LOOKED
from byoc.errors import ByocError, Conflict, NotFound, TooManyRequests, Unreachable, Unwritable

COUNTS: Final[Mapping[Shelf, int]] = {
    Shelf.GROUPS: 4,
    Shelf.WORKSPACES: 16,
    Shelf.TOMBSTONES: 32,
    Shelf.INTERVALS: 16,
    Shelf.PASSWORDS: 4,
    Shelf.REPLAYS: 1,
    Shelf.SELF: 1,
    Shelf.KEYS: 1,
    # Last: once it is there, all of them were.
    Shelf.LIFE: 1,
}
"""Buckets of each shelf. A bucket holds up to 1 MiB; another number here would need a migration."""
SECRET: Final = frozenset({Shelf.PASSWORDS, Shelf.KEYS})
EPOCH: Final = "byoc.dev/epoch"
"""Annotation of every bucket: which term of leading wrote it last."""
STATE_LABEL: Final = "byoc.dev/state"
"""Label of every bucket but the one that the bundle makes; its value is the shelf."""
_SUFFIX: Final = ".json"
_CARRIED: Final = frozenset({HEARTBEAT, LOOKED})
"""Records of the shelf ``life`` that say until when usage was seen."""
_THREADS: Final = 8
_TRIES: Final = 5
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 15.0
_LOG: Final = log.get(__name__)


@dataclass
class Bucket:
    """One object: its version as we know it, and, unless it is secret, what it holds."""

    shelf: Shelf
    name: str
    version: str = ""
    epoch: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> type[ConfigMap] | type[Secret]:
        """What sort of object it is."""
        return Secret if self.shelf in SECRET else ConfigMap

    @property
    def where(self) -> str:
        """How a person is told of it."""
        return f"{self.kind.__name__} {NAMESPACE}/{self.name}"

    def learn(self, found: ConfigMap | Secret) -> None:
        """Take over what the server says of it."""
        metadata = found.metadata or ObjectMeta()
        self.version = metadata.resourceVersion or ""
        said = (metadata.annotations or {}).get(EPOCH, "0")
        self.epoch = int(said) if said.isdigit() else 0

    def encoded(self, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return changes as the object's ``data`` has them."""
        if self.shelf not in SECRET:
            return {_key(self.shelf, name): text for name, text in changes.items()}
        return {
            _key(self.shelf, name): None if text is None else base64.b64encode(text.encode()).decode()
            for name, text in changes.items()
        }

    def decoded(self, found: ConfigMap | Secret) -> dict[str, str]:
        """Return the records of an object, by name."""
        held = found.data or {}
        plain = {key.removesuffix(_SUFFIX): text for key, text in held.items()}
        if self.shelf not in SECRET:
            return plain
        return {name: base64.b64decode(text).decode() for name, text in plain.items()}


def _key(shelf: Shelf, name: str) -> str:
    return f"{name}{_SUFFIX}" if shelf is Shelf.KEYS else name


def object_name(shelf: Shelf, number: int) -> str:
    """Return the name of a bucket's object."""
    if shelf is Shelf.KEYS:
        return KEYS
    return f"{STATE_PREFIX}{shelf}" if COUNTS[shelf] == 1 else f"{STATE_PREFIX}{shelf}-{number}"


def buckets(shelf: Shelf) -> tuple[Bucket, ...]:
    """Return the buckets of a shelf, unread."""
    return tuple(Bucket(shelf, object_name(shelf, number)) for number in range(COUNTS[shelf]))


class Carrier(Protocol):
    """Something that is written every few seconds anyhow, and takes along until when usage was seen.

    Attributes:
        words: what it is given to carry, by name.
    """

    words: dict[str, str]

    @property
    def carried(self) -> Mapping[str, str]:
        """What has arrived: a crash leaves that much."""
        ...


class ObjectStorage:
    """The records of one term of leading.

    Args:
        kept: every bucket, already marked with ``epoch``.
        leading: whether the lease may still be ours; asked before each write.
        deposed: called, once, when a write shows that another agent leads.
        carrier: of the words on until when usage was seen, which change every half minute and would be the
            only writes of a cell in which nothing happens; where there is none, they are records like all
            others. What is read of them is what has arrived.
    """

    def __init__(
        self,
        client: Client,
        epoch: int,
        kept: Mapping[Shelf, tuple[Bucket, ...]],
        *,
        clock: Clock,
        leading: Callable[[], bool] = lambda: True,
        deposed: Callable[[], None] = lambda: None,
        carrier: Carrier | None = None,
    ) -> None:
        self._client = client
        self._epoch = epoch
        self._kept = kept
        self._clock = clock
        self._leading = leading
        self._on_deposed = deposed
        self._carrier = carrier
        self._deposed = False
        self._pause = 0.0
        self._again_at = clock.monotonic()

    def each(self, shelf: Shelf) -> Iterator[tuple[str, bytes]]:
        """Yield every record of a shelf."""
        found: dict[str, str] = {}
        for bucket in self._kept[shelf]:
            found |= self._texts(bucket)
        for name in sorted(found):
            if shelf in NAMED_BY_ID and not is_id(name):
                raise broken(self.where(shelf, name), "is not one that the cell writes")
            yield name, found[name].encode()

    def read(self, shelf: Shelf, name: str) -> bytes | None:
        """Return one record; secret ones are asked for, the others are at hand."""
        if self._carrier is not None and shelf is Shelf.LIFE and name in _CARRIED:
            carried = self._carrier.carried.get(name)
            if carried:
                return carried.encode()
        text = self._texts(self._bucket(shelf, name)).get(name)
        return None if text is None else text.encode()

    def change(self, shelf: Shelf, changes: Mapping[str, bytes | None]) -> None:
        """Store or remove records: one write for each bucket that is concerned."""
        if self._carrier is not None and shelf is Shelf.LIFE:
            changes = self._handed_over(self._carrier, changes)
        by_bucket: dict[str, tuple[Bucket, dict[str, str | None]]] = {}
        for name, text in changes.items():
            bucket = self._bucket(shelf, name)
            _, mine = by_bucket.setdefault(bucket.name, (bucket, {}))
            mine[name] = None if text is None else text.decode()
        for bucket, mine in by_bucket.values():
            self._write(bucket, mine)

    def where(self, shelf: Shelf, name: str) -> str:
        """Return the object and the key of a record."""
        return f"{self._bucket(shelf, name).where} key {_key(shelf, name)}"

    def _handed_over(self, carrier: Carrier, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Give the carrier what is for it; returns the rest."""
        words = {name: text.decode() for name, text in changes.items() if name in _CARRIED and text}
        if words:
            self._check()
            carrier.words |= words
        return {name: text for name, text in changes.items() if name not in words}

    # --- one bucket ----------------------------------------------------------------------

    def _bucket(self, shelf: Shelf, name: str) -> Bucket:
        held = self._kept[shelf]
        return held[zlib.crc32(name.encode()) % len(held)]

    def _texts(self, bucket: Bucket) -> Mapping[str, str]:
        if bucket.shelf not in SECRET:
            return bucket.texts
        try:
            with translated(bucket.where):
                return bucket.decoded(self._client.get(bucket.kind, bucket.name))
        except NotFound as error:
            raise broken(bucket.where, "is missing") from error
        except ByocError as error:
            raise Unwritable(error.message) from error

    def _write(self, bucket: Bucket, changes: Mapping[str, str | None]) -> None:
        self._check()
        wanted = changes
        for _ in range(_TRIES):
            try:
                self._patch(bucket, wanted)
            except Conflict:
                wanted = self._look_again(bucket, changes)
            except NotFound as error:
                raise self._lost(bucket, "was deleted") from error
            except (Unreachable, TooManyRequests) as error:
                raise self._refused(error) from error
            except ByocError as error:
                raise Unwritable(error.message) from error
            else:
                self._pause = 0.0
                if bucket.shelf not in SECRET:
                    _apply(bucket.texts, changes)
                return
        raise Unwritable(f"{bucket.where}: others keep changing it")

    def _patch(self, bucket: Bucket, changes: Mapping[str, str | None]) -> None:
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": bucket.version},
            "data": bucket.encoded(changes),
        }
        with translated(bucket.where):
            bucket.learn(self._client.patch(bucket.kind, bucket.name, patch, patch_type=PatchType.MERGE))

    def _look_again(self, bucket: Bucket, changes: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Find out who wrote the bucket: we (the answer was lost), a person, or a new leader."""
        try:
            with translated(bucket.where):
                found = self._client.get(bucket.kind, bucket.name)
        except NotFound as error:
            raise self._lost(bucket, "was deleted") from error
        except ByocError as error:
            raise self._refused(error) from error
        bucket.learn(found)
        if bucket.epoch != self._epoch:
            raise self._lost(bucket, f"is of epoch {bucket.epoch}, ours was {self._epoch}")
        if bucket.shelf in SECRET:
            return changes
        # What we hold is what was acknowledged: whatever else is there goes.
        held: dict[str, str | None] = dict.fromkeys(bucket.decoded(found).keys() - bucket.texts.keys())
        return {**held, **bucket.texts, **changes}

    def _check(self) -> None:
        if self._deposed:
            raise Deposed("another agent leads this cell")
        if not self._leading():
            raise Unwritable("this agent may not lead any more")
        if self._clock.monotonic() < self._again_at:
            raise Unwritable("the cluster's API did not answer a moment ago")

    def _refused(self, error: ByocError) -> Unwritable:
        """Leave the API alone for a while: each attempt would hold up everything else."""
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._again_at = self._clock.monotonic() + self._pause
        return Unwritable(error.message, hint="the cell tries again by itself")

    def _lost(self, bucket: Bucket, why: str) -> Deposed:
        if not self._deposed:
            self._deposed = True
            _LOG.warning("deposed", object=bucket.name, why=why)
            self._on_deposed()
        return Deposed(f"{bucket.where} {why}: another agent leads this cell")


def _apply(texts: dict[str, str], changes: Mapping[str, str | None]) -> None:
    for name, text in changes.items():
        if text is None:
            texts.pop(name, None)
        else:
            texts[name] = text


# --- beginning to lead ---------------------------------------------------------------------------


def newest_epoch(client: Client) -> int:
    """Return the epoch that the state was written in last; 0 for a cell that has none.

    Raises:
        ByocError: it cannot be read.
    """
    (bucket,) = buckets(Shelf.LIFE)
    try:
        with translated(bucket.where):
            bucket.learn(client.get(bucket.kind, bucket.name))
    except NotFound:
        return 0
    return bucket.epoch


def take_over(client: Client, epoch: int) -> dict[Shelf, tuple[Bucket, ...]]:
    """Mark every bucket with ``epoch`` and read it; from then on no earlier leader can write to it.

    Called from a thread of its own: it may take as long as eighty short calls.

    Raises:
        StateBroken: a part of the state is missing.
        Deposed: a newer leader was here.
        ByocError: the API could not be reached; it may be repeated.
    """
    found = {shelf: buckets(shelf) for shelf in COUNTS}
    every = [bucket for shelf in COUNTS for bucket in found[shelf]]
    with ThreadPoolExecutor(_THREADS) as pool:
        there = list(pool.map(lambda bucket: _mark(client, bucket, epoch), every))
    missing = [bucket for bucket, seen in zip(every, there, strict=True) if not seen]
    if missing:
        _begin(client, epoch, every, missing)
    return found


def _mark(client: Client, bucket: Bucket, epoch: int) -> bool:
    for _ in range(_TRIES):
        try:
            with translated(bucket.where):
                bucket.learn(client.get(bucket.kind, bucket.name))
            if bucket.epoch > epoch:
                raise Deposed(f"{bucket.where} is of epoch {bucket.epoch}, ours is {epoch}")
            metadata = {"resourceVersion": bucket.version, "annotations": {EPOCH: str(epoch)}}
            with translated(bucket.where):
                found = client.patch(
                    bucket.kind, bucket.name, {"metadata": metadata}, patch_type=PatchType.MERGE
                )
        except NotFound:
            return False
        except Conflict:
            continue
        bucket.learn(found)
        if bucket.shelf not in SECRET:
            bucket.texts = bucket.decoded(found)
        return True
    raise Unreachable(f"{bucket.where}: others keep changing it")


def _begin(client: Client, epoch: int, every: Iterable[Bucket], missing: list[Bucket]) -> None:
    """Make the buckets of a cell that never had any; the last one made says that all were."""
    whole = next(each for each in every if each.shelf is Shelf.LIFE)
    if whole not in missing or any(each.texts for each in every):
        raise broken(missing[0].where, "is missing, but the state is not new")
    for bucket in missing:
        metadata = ObjectMeta(
            name=bucket.name,
            namespace=NAMESPACE,
            labels={STATE_LABEL: str(bucket.shelf), "app.kubernetes.io/part-of": "byoc"},
            annotations={EPOCH: str(epoch)},
        )
        with translated(bucket.where):
            bucket.learn(client.create(bucket.kind(metadata=metadata)))


class SharedReplays:
    """The ids of recent requests where every agent of the cell sees them."""

    def __init__(self, kept: ObjectStorage) -> None:
        self._kept = kept
        self._names: set[str] = set()

    def load(self) -> Iterable[str]:
        """Return what was kept; in no order of time, so all of it counts as new."""
        self._names = {name for name, _ in self._kept.each(Shelf.REPLAYS)}
        return sorted(self._names)

    def add(self, name: str, kept: Iterable[str]) -> None:
        """Keep one more, and let go of what is past, in one write."""
        past = self._names - set(kept)
        self._kept.change(Shelf.REPLAYS, {**dict.fromkeys(past), name: b""})
        self._names = (self._names - past) | {name}
