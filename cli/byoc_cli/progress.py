"""Shows a wait: one line per step, with the time since the command began and its reason.

On a terminal the newest step is a line that counts the seconds; elsewhere each step is a
plain line when it happens. Always on stderr.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from byoc.clock import Clock
from byoc.errors import Cancelled
from byoc_cli.output import Output, cut, pad, safe

if TYPE_CHECKING:
    from byoc.client import Step

_WORD: Final = 14
_BEFORE_TEXT: Final = 27
_TICK: Final = 0.5
_MINUTE: Final = 60
_TENTHS_BELOW: Final = 10


def elapsed(seconds: float) -> str:
    """Return a duration for people: tenths while it is short."""
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // _MINUTE} min {int(seconds) % _MINUTE} s"


def line(word: str, text: str, seconds: float) -> str:
    """Return one step as a line."""
    return f"{elapsed(seconds):>11}  {pad(safe(word), _WORD)}{safe(text)}"


class Progress:
    """The steps of one wait."""

    def __init__(self, out: Output, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._start = clock.monotonic()
        self._lock = threading.Lock()
        self._current: Step | None = None
        self._stop = threading.Event()
        self._ticker: threading.Thread | None = None

    def show(self, step: "Step") -> None:
        """Show the next step."""
        with self._lock:
            now = self._clock.monotonic() - self._start
            if not self._out.live:
                self._out.note(line(step.word, step.text, now), indent=_BEFORE_TEXT)
                return
            if self._current is not None and self._current != step:
                self._settle(now)
            self._current = step
            self._out.draw(line(step.word, step.text, now))
        self._tick()

    def close(self) -> None:
        """Leave the last step standing."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            if self._current is not None:
                self._settle(self._clock.monotonic() - self._start)
            self._current = None

    def _settle(self, now: float) -> None:
        if self._current is not None:
            self._out.draw("")
            said = cut(line(self._current.word, self._current.text, now), 400)
            self._out.note(said, indent=_BEFORE_TEXT)

    def _tick(self) -> None:
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._run, daemon=True)
            self._ticker.start()

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            with self._lock:
                if self._current is not None:
                    now = self._clock.monotonic() - self._start
                    self._out.draw(line(self._current.word, self._current.text, now))


@contextmanager
def shown(out: Output, clock: Clock, *, goes_on: str) -> Iterator[Progress]:
    """Show a wait; an interrupt says what goes on running.

    Raises:
        Cancelled: the user interrupted.
    """
    progress = Progress(out, clock)
    try:
        yield progress
    except KeyboardInterrupt as error:
        raise Cancelled(f"stopped waiting: {goes_on}") from error
    finally:
        progress.close()
