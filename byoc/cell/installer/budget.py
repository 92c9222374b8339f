"""How long one call of the function may take: it answers before its caller gives up.

Made by the handler from what Lambda leaves it, asked by everything that waits.
"""

from collections.abc import Callable
from dataclasses import dataclass

from byoc.errors import StillPending


@dataclass(frozen=True, slots=True)
class Budget:
    """Time that is left.

    Attributes:
        deadline: reading of ``monotonic`` at which the answer must be given.
    """

    deadline: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]

    @classmethod
    def of(cls, seconds: float, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> "Budget":
        """Return a budget of ``seconds`` from now."""
        return cls(monotonic() + seconds, monotonic, sleep)

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.deadline - self.monotonic())

    def wait(self, seconds: float, what: str) -> None:
        """Sleep for ``seconds``.

        Raises:
            StillPending: so much time is not left; it says that ``what`` goes on.
        """
        if seconds > self.left:
            raise StillPending(what, hint="run it again: it goes on where it was")
        self.sleep(seconds)
