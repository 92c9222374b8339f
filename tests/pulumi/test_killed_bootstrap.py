"""A bootstrap that is killed and run again finishes, and makes nothing twice."""

from pathlib import Path
from random import Random

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.testing.instance import Instance
from tests.pulumi.killing import emulated, story


@pytest.mark.timeout(1200)
def test_a_bootstrap_that_is_killed_finishes_when_it_is_run_again(
    engine: Pulumi, short_path: Path, tmp_path: Path
) -> None:
    with emulated(engine, short_path) as site, Instance(tmp_path / "instance") as instance:
        assert story(site, instance, Random(4), kills=2) == 2  # noqa: S311 - places, no secrets
