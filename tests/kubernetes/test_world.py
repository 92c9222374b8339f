"""The machines that the other tests of this tier stand on: what they do is what machines do."""

from pathlib import Path

from tests.emulated.machines.api import MERGE, STRATEGIC
from tests.kubernetes.space import ROW, TAINT, Space, engine, until


def test_an_engine_pod_answers_sql_at_its_own_address(filled: Space) -> None:
    pod = filled.ready()
    assert pod is not None
    assert pod["status"]["podIP"].startswith("127.")
    assert filled.sql("SELECT @@datadir, @@bind_address") == (("/data/db/", pod["status"]["podIP"]),)
    found = filled.world.containers(filled.name, "engine-0")["engine"].container
    assert found is not None
    assert Path(f"/proc/{found.pid}/cmdline").read_bytes().startswith(b"mariadbd")


def test_a_crashed_engine_is_started_again_on_what_it_held(filled: Space) -> None:
    filled.world.kill_process(filled.name, "engine-0")
    until(30, lambda: filled.restarts() == 1)
    assert until(30, lambda: filled.sql(ROW)) == ((7,),)


def test_a_deleted_pod_stops_cleanly_and_comes_back_with_its_volume(filled: Space) -> None:
    before = filled.ready()
    assert before is not None
    filled.ask("DELETE", filled.core("pods/engine-0"))
    until(30, lambda: (filled.pod() or before)["metadata"]["uid"] != before["metadata"]["uid"])
    assert until(30, lambda: filled.sql(ROW)) == ((7,),)


def test_a_resize_in_place_is_shown_without_a_restart(filled: Space) -> None:
    wanted = {"requests": {"cpu": "2", "memory": "1Gi"}}
    body = {"spec": {"containers": [{"name": "engine", "resources": wanted}]}}
    path = filled.core("pods/engine-0/resize")
    filled.ask("PATCH", path, body, STRATEGIC)

    def shown() -> bool:
        (status,) = (filled.pod() or {})["status"]["containerStatuses"]
        return bool(status["resources"] == wanted)

    until(20, shown)
    assert filled.restarts() == 0


def test_an_image_that_cannot_be_pulled_says_so_until_it_can(space: Space) -> None:
    space.world.images.broken.add("library/mariadb")
    try:
        space.ask("POST", space.sets, engine("engine"))

        def reason() -> str:
            found = ((space.pod() or {}).get("status") or {}).get("initContainerStatuses") or [{}]
            return str((found[0].get("state", {}).get("waiting") or {}).get("reason"))

        until(30, lambda: reason() == "ImagePullBackOff")
    finally:
        space.world.images.broken.clear()
    assert until(60, lambda: space.sql("SELECT 1"))


def test_a_pod_of_a_dead_machine_stays_until_the_machine_is_declared_out_of_service(filled: Space) -> None:
    pod = filled.ready()
    assert pod is not None
    machine = pod["spec"]["nodeName"]
    filled.world.lose_power(machine)
    try:

        def unready() -> bool:
            node = filled.ask("GET", f"/api/v1/nodes/{machine}")
            return any(
                each["type"] == "Ready" and each["status"] == "Unknown"
                for each in node["status"]["conditions"]
            )

        until(40, unready)
        filled.ask("DELETE", filled.core("pods/engine-0"))
        still = filled.pod()
        assert still is not None
        assert still["metadata"]["uid"] == pod["metadata"]["uid"]
        filled.ask("PATCH", f"/api/v1/nodes/{machine}", {"spec": {"taints": [TAINT]}}, MERGE)
        assert until(60, lambda: filled.sql(ROW)) == ((7,),)
        moved = filled.ready()
        assert moved is not None
        assert moved["spec"]["nodeName"] != machine
        assert moved["spec"]["nodeName"][0] == machine[0]
    finally:
        filled.ask("PATCH", f"/api/v1/nodes/{machine}", {"spec": {"taints": None}}, MERGE)
        filled.world.switch_on(machine)


def test_a_volume_set_to_be_deleted_goes_with_its_claim(filled: Space) -> None:
    claim = filled.ask("GET", filled.core("persistentvolumeclaims/data-engine-0"))
    path = f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}"
    handle = filled.ask("GET", path)["spec"]["csi"]["volumeHandle"]
    assert handle in filled.world.cloud.disks
    filled.ask("PATCH", path, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, MERGE)
    filled.ask("DELETE", f"{filled.sets}/engine")
    filled.ask("DELETE", filled.core("persistentvolumeclaims/data-engine-0"))
    until(60, lambda: handle not in filled.world.cloud.disks)
