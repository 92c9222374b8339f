"""Bootstrap killed on its way: at two places that are always the same, and at twelve that nobody chose."""

import os
from pathlib import Path
from random import Random

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.testing.instance import Instance
from tests.pulumi.conftest import engine
from tests.pulumi.killing import emulated, story

__all__ = ["engine"]  # a fixture
pytestmark = pytest.mark.filterwarnings("ignore:aws.*has been deprecated:DeprecationWarning")


@pytest.mark.timeout(1200)
def test_a_bootstrap_that_is_killed_finishes_when_it_is_run_again(
    engine: Pulumi, short_path: Path, tmp_path: Path
) -> None:
    with emulated(engine, short_path) as site, Instance(tmp_path / "instance") as instance:
        assert story(site, instance, Random(4), kills=2) == 2  # noqa: S311 - places, no secrets


@pytest.mark.timeout(7200)
def test_a_bootstrap_that_is_killed_at_random_finishes(
    engine: Pulumi, short_path: Path, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")  # noqa: T201 - so that it can be told again
    with emulated(engine, short_path) as site, Instance(tmp_path / "instance") as instance:
        assert story(site, instance, Random(seed), kills=12) > 0  # noqa: S311 - places, no secrets
