"""Taking a cell out of a cluster in which others have things of their own: against an emulated API server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.bootstrap.anywhere import Removed, remove
from byoc.cell.incluster import AGENT, BUNDLE_LABEL, NAMESPACE, STORAGE_CLASS, WORKSPACE_LABEL
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.errors import Conflict
from tests.emulated.kubernetes import Cluster, serving

Make = Callable[..., None]
SPACES = "/api/v1/namespaces"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


KINDS = {SPACES: "Namespace", VOLUMES: "PersistentVolume", CLASSES: "StorageClass"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with serving(Cluster(), tmp_path) as found:
        yield found


@pytest.fixture
def make(cluster: Cluster) -> Make:
    def made(above: str, name: str, *, by: str = AGENT, **body: Any) -> None:
        metadata = {"name": name, "labels": body.pop("labels", {})}
        whole = {"apiVersion": "v1", "kind": KINDS[above], "metadata": metadata, **body}
        status, said = cluster.answer("POST", f"{above}?fieldManager={by}", "token", whole, "")
        assert status == 200, said

    made(SPACES, NAMESPACE, by="byoc-installer", labels={BUNDLE_LABEL: "cell"})
    made(CLASSES, STORAGE_CLASS, by="byoc-installer", labels={BUNDLE_LABEL: "cell"})
    return made


def volume(make: Make, name: str, namespace: str, storage: str = STORAGE_CLASS) -> None:
    spec = {"claimRef": {"namespace": namespace}, "storageClassName": storage, **RETAINED}
    make(VOLUMES, name, by="csi", spec=spec)


RETAINED = {"persistentVolumeReclaimPolicy": "Retain"}


def take_out(cluster: Cluster, *, keep_data: bool = False) -> Removed:
    ticks = iter(range(100_000))

    def opened() -> Api:
        budget = Budget.of(60, lambda: next(ticks) / 100, lambda _: None)
        return Api(cluster.url, cluster.authority, lambda: "token", budget)

    return remove(opened, cell="demo", keep_data=keep_data, force=True)


def names(cluster: Cluster, above: str) -> list[str]:
    _, found = cluster.answer("GET", above, "token", None, "")
    return sorted(each["metadata"]["name"] for each in found["items"])


def policy(cluster: Cluster, name: str) -> str:
    _, found = cluster.answer("GET", f"{VOLUMES}/{name}", "token", None, "")
    return str(found["spec"]["persistentVolumeReclaimPolicy"])


def test_what_only_looks_like_a_workspaces_is_left_with_its_data(cluster: Cluster, make: Make) -> None:
    make(SPACES, "byoc-ws-one", labels={WORKSPACE_LABEL: "one"})
    make(SPACES, "byoc-ws-theirs", by="kubectl")
    for name, space, storage in (
        ("ours", "byoc-ws-one", STORAGE_CLASS),
        ("went-before", "byoc-ws-gone", STORAGE_CLASS),
        ("theirs", "byoc-ws-theirs", STORAGE_CLASS),
        ("theirs-gone", "byoc-ws-theirs-gone", "fast"),
    ):
        volume(make, name, space, storage)

    left = take_out(cluster).left

    assert names(cluster, SPACES) == ["byoc-ws-theirs"]
    deleted = {name for name in names(cluster, VOLUMES) if policy(cluster, name) == "Delete"}
    assert deleted == {"ours", "went-before"}
    # No driver works in the emulation, so what was let go is still there and is named.
    assert left == ["PersistentVolume ours", "PersistentVolume went-before"]


@pytest.mark.parametrize(
    ("name", "by", "workspace"),
    [("byoc-ws-two", "kubectl", "two"), ("finance", AGENT, "two"), ("byoc-ws-two", AGENT, "one")],
)
def test_a_namespace_that_no_agent_made_is_refused_and_nothing_is_removed(
    cluster: Cluster, make: Make, name: str, by: str, workspace: str
) -> None:
    make(SPACES, "byoc-ws-one", labels={WORKSPACE_LABEL: "one"})
    make(SPACES, name, by=by, labels={WORKSPACE_LABEL: workspace})
    volume(make, "ours", "byoc-ws-one")
    before = {path: held.content() for path, held in cluster.objects.items()}

    with pytest.raises(Conflict, match=name) as caught:
        take_out(cluster)

    assert WORKSPACE_LABEL in (caught.value.hint or "")
    assert {path: held.content() for path, held in cluster.objects.items()} == before
