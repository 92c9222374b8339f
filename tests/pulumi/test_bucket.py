"""State in a bucket and its secrets under a key, both in the (emulated) account of the customer."""

import json
import os

import pytest

from byoc.bootstrap.engine.repair import State
from byoc.errors import PreconditionFailed
from tests.pulumi.program import RESOURCES
from tests.pulumi.world import NAME, PROJECT, World

STATE = f".pulumi/stacks/{PROJECT}/{NAME}.json"


def resources(state: State) -> int:
    return len(state["deployment"].get("resources", []))


def test_a_stack_lives_in_a_bucket_and_its_secrets_under_a_key(world: World) -> None:
    world.move_to_bucket()
    stack = world.stack()
    assert stack.up().counts == {"create": RESOURCES}
    body = world.aws("s3").get_object(Bucket="byoc-state-123456789012-us-east-1", Key=STATE)["Body"].read()
    assert b"hush-hush" not in body
    latest = json.loads(body)["checkpoint"]["latest"]
    assert latest["secrets_providers"]["type"] == "cloud"
    assert latest["secrets_providers"]["state"]["url"].startswith("awskms://alias/byoc-state")
    again = world.stack()
    assert again.preview().total == 0, "another machine needs the account only"
    assert again.outputs() == {"cluster": "cell"}
    assert resources(again.export()) > RESOURCES
    again.destroy()
    again.remove()
    left = world.backend.objects.keys(".byoc/")
    assert [key for key in left if "outputs" in key] == []


def test_a_lock_in_a_bucket_is_read_before_a_run(world: World) -> None:
    world.move_to_bucket()
    stack = world.stack()
    prefix = f".pulumi/locks/organization/{PROJECT}/{NAME}/"
    dead = {
        "pid": 2**22 - 1,
        "username": "me",
        "hostname": os.uname().nodename,
        "timestamp": "2026-11-24T10:00:00Z",
    }
    world.backend.objects.write(f"{prefix}one.json", json.dumps(dead).encode())
    assert stack.preview().total == RESOURCES
    assert world.locks() == []
    world.backend.objects.write(f"{prefix}two.json", json.dumps(dead | {"hostname": "elsewhere"}).encode())
    with pytest.raises(PreconditionFailed, match="locked by me@elsewhere"):
        stack.up()


def test_a_repair_in_a_bucket_keeps_the_state_of_before(world: World) -> None:
    world.move_to_bucket()
    stack = world.stack()
    stack.up()
    before = stack.export()
    backup = stack.replace_state(before)
    kept = world.backend.objects.read(backup)
    assert kept is not None
    assert json.loads(kept) == before
    assert stack.preview().total == 0
