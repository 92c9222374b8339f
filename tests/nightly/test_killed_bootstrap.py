"""Bootstrap killed at twelve places that nobody chose; the seed is printed, so that it can be told again."""

import os
from pathlib import Path
from random import Random

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.testing.instance import Instance
from tests.pulumi.conftest import engine
from tests.pulumi.killing import emulated, story

__all__ = ["engine"]  # a fixture


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:aws.*has been deprecated:DeprecationWarning")
def test_a_bootstrap_that_is_killed_at_random_finishes(
    engine: Pulumi, short_path: Path, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")  # noqa: T201
    with emulated(engine, short_path) as site, Instance(tmp_path / "instance") as instance:
        assert story(site, instance, Random(seed), kills=12) > 0  # noqa: S311 - places, no secrets
