"""Long runs: not part of `scripts/test` without arguments; `scripts/test nightly` runs them."""

from tests.pulumi.conftest import engine

__all__ = ["engine"]
