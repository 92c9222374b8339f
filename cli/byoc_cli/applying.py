"""Shows the engine at work: one line for each thing that is made, and on a terminal a bar for all of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from byoc_cli.output import Output, pad
from byoc_cli.progress import elapsed

if TYPE_CHECKING:
    from byoc.bootstrap.engine.events import Progress

DONE: Final = {"create": "created", "update": "changed", "delete": "deleted", "replace": "replaced"}
_WORD: Final = 11
_KIND: Final = 26
_LONGEST: Final = 3
"""How many names of what is under way the bar shows."""

Listener = Callable[["Progress"], None]


def told(fact: "Progress") -> str | None:
    """Return the line for one fact of a run; ``None`` where nobody needs one."""
    from byoc.bootstrap.engine import events  # noqa: PLC0415 - loaded already by whoever has a fact

    if isinstance(fact, events.Ended):
        count = f"  ({fact.done} of {fact.total})" if fact.total else ""
        return _line(elapsed(fact.seconds), DONE.get(fact.op, fact.op), fact.subject, count)
    if isinstance(fact, events.Broken):
        return _line(elapsed(fact.seconds), "failed", fact.subject, "")
    if isinstance(fact, events.Violated):
        word = "refused" if fact.mandatory else "advised"
        return f"{'':>11}  {pad(word, _WORD)}{fact.policy}: {fact.text}"
    if isinstance(fact, events.Said) and fact.severity != "info":
        return f"{'':>11}  {pad(fact.severity, _WORD)}{fact.text}"
    return None


def _line(seconds: str, word: str, subject: Any, count: str) -> str:
    kind = subject.type.rpartition(":")[2] or subject.type
    return f"{seconds:>11}  {pad(word, _WORD)}{pad(kind, _KIND)}{subject.name}{count}"


@contextmanager
def applying(out: Output) -> Iterator[Listener]:
    """Yield the listener of one run of the engine."""
    if not out.live:
        yield lambda fact: _note(out, fact)
        return
    bar = _Bar(out)
    try:
        yield bar.hear
    finally:
        bar.close()


def _note(out: Output, fact: "Progress") -> None:
    line = told(fact)
    if line is not None:
        out.note(line)


class _Bar:
    """A bar at the foot of the terminal; lines of what has ended scroll above it."""

    def __init__(self, out: Output) -> None:
        from rich.console import Console  # noqa: PLC0415 - slow to import, and for terminals only
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        console = Console(file=out.stderr, no_color=out.no_color, highlight=False, markup=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._under_way: dict[str, str] = {}
        self._progress.start()

    def hear(self, fact: "Progress") -> None:
        """Show one fact."""
        from byoc.bootstrap.engine import events  # noqa: PLC0415 - loaded already by whoever has a fact

        if isinstance(fact, events.Started):
            self._under_way[fact.subject.urn] = fact.subject.name
        elif isinstance(fact, events.Ended | events.Broken):
            self._under_way.pop(fact.subject.urn, None)
        if isinstance(fact, events.Ended):
            self._progress.update(self._task, completed=fact.done, total=fact.total or None)
        self._progress.update(self._task, description=", ".join([*self._under_way.values()][:_LONGEST]))
        line = told(fact)
        if line is not None:
            self._progress.console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        self._progress.stop()
