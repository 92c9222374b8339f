"""The agent of the bundle, started as a process with the argv, environment and mounts of its manifest."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lightkube.resources.core_v1 import ConfigMap, Secret

from byoc.cell.args import Gateway
from byoc.cell.incluster import ENROLMENT, KEYS
from byoc.cell.manifests import bundle
from byoc.dataplane.kubernetes.connect import translated
from byoc.errors import Unreachable
from byoc.testing import ManualClock
from byoc.wire.certificates import make_authority
from tests.emulated import kubernetes
from tests.emulated.agents import Home, house, kubeconfig
from tests.emulated.pods import Pod
from tests.unit.cell.examples import cell

SECONDS = 60.0


def pod_of(root: Path) -> Pod:
    authority = make_authority(name="gateway", now=ManualClock().now()).certificate.decode()
    gateway = Gateway(url="wss://127.0.0.1:1/nimbus/v1", ca_pem=authority)
    objects = bundle(cell(gateway=gateway, policy='deny = ["*"]\n')).objects
    (workload,) = (each for each in objects if each["kind"] == "StatefulSet")
    return Pod(workload["spec"]["template"]["spec"], objects, root)


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    made = pod_of(tmp_path)
    made.mount()
    return made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """The agents' namespace, of which the pod's own account would tell it the way."""
    with kubernetes.serving(kubernetes.Cluster(), tmp_path) as cluster:
        made = Home(cluster.url, cluster.authority, "token")
        house(made)
        with closing(made):
            yield made


@pytest.fixture
def agent(pod: Pod, home: Home) -> Iterator[subprocess.Popen[bytes]]:
    program, *words = pod.command
    assert program == "byoc"
    config = pod.root / "kubeconfig"
    config.write_text(json.dumps(kubeconfig(home.server, home.authority, home.token)))
    environment = pod.environment | {"PATH": os.environ["PATH"], "KUBECONFIG": str(config)}
    log = pod.root / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "byoc", *words], env=environment, cwd=pod.root, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()[-2000:]


def standing(pod: Pod) -> str:
    path = pod.path("/var/lib/byoc/cell/status.json")
    return json.loads(path.read_text())["reason"] if path.exists() else ""


def shown(home: Home) -> str:
    """Return what the agent shows of itself in the cluster, and by which names its keys are kept."""
    with closing(home.client()) as client:
        try:
            with translated("what is shown"):
                keys = client.get(Secret, KEYS).data or {}
                return f"{client.get(ConfigMap, ENROLMENT).data} {sorted(keys)}"
        except Unreachable:
            return ""


def wait_for(look: Callable[[], bool], process: subprocess.Popen[bytes], pod: Pod) -> None:
    ends = time.monotonic() + SECONDS
    while not look():
        assert process.poll() is None, (pod.root / "log").read_text()[-2000:]
        assert time.monotonic() < ends, standing(pod)
        time.sleep(0.02)


def test_the_agent_waits_for_its_enrolment_and_reads_it_where_it_is_mounted(
    pod: Pod, agent: subprocess.Popen[bytes], home: Home
) -> None:
    wait_for(lambda: standing(pod) == "waiting for enrolment", agent, pod)
    wait_for(lambda: "waiting for enrolment" in shown(home), agent, pod)
    # The keys are the pair's: neither agent keeps them on its own volume.
    assert not (pod.path("/var/lib/byoc/cell") / "keys.json").exists()
    wait_for(lambda: "['keys.json']" in shown(home), agent, pod)
    root = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    handed = json.dumps({"token": "a-token", "rootKey": root}).encode()
    pod.bring("enrolment", {"enrolment.json": handed})
    # It dials the gateway that its configuration names, under the authority that is mounted.
    wait_for(lambda: "127.0.0.1:1" in standing(pod), agent, pod)
    assert "a-token" not in (pod.root / "log").read_text()


def test_whoever_connects_and_says_nothing_keeps_nobody_from_the_cluster(home: Home) -> None:
    address = urlsplit(home.server)
    with closing(socket.create_connection((address.hostname, address.port))):
        assert shown(home) == "None []"


def test_what_the_agent_writes_is_on_its_volume_and_nowhere_else(
    pod: Pod, agent: subprocess.Popen[bytes]
) -> None:
    before = {path for path in pod.root.rglob("*") if not path.is_relative_to(pod.path("/var/lib/byoc/cell"))}
    wait_for(lambda: standing(pod) == "waiting for enrolment", agent, pod)
    after = {path for path in pod.root.rglob("*") if not path.is_relative_to(pod.path("/var/lib/byoc/cell"))}
    # The rest of its root cannot be written.
    assert {path for path in after - before if not path.is_relative_to(pod.path("/tmp"))} == set()  # noqa: S108


def test_the_configuration_names_only_what_is_mounted(pod: Pod) -> None:
    config = json.loads(pod.path("/var/lib/byoc/cell/config.json").read_text())
    assert Path(config["ca"]).read_text().startswith("-----BEGIN CERTIFICATE")
    assert Path(config["policy"]).read_text() == 'deny = ["*"]\n'
    assert not Path(config["enrolment"]).exists()
    assert Path(config["enrolment"]).parent.is_dir()
