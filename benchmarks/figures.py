"""What a benchmark prints: a figure with its goal, its baseline and whether the goal is met."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        goal: upper bound, or lower bound where ``higher_is_better``; None where only told.
        baseline: what the same work costs without us, measured in the same run.
        judged: which number the goal is about: ``measured``, ``above`` (measured - baseline)
            or ``ratio`` (measured / baseline).
    """

    name: str
    unit: str
    measured: float
    goal: float | None = None
    baseline: float | None = None
    judged: str = "measured"
    higher_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over baseline."""
        return self.measured / self.baseline if self.baseline else None

    @property
    def value(self) -> float:
        """The number that the goal is about."""
        if self.judged == "above":
            return self.measured - (self.baseline or 0.0)
        if self.judged == "ratio":
            return self.ratio or 0.0
        return self.measured

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.higher_is_better else self.value <= self.goal

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"ratio": self.ratio, "value": self.value, "met": self.met}


def render(figures: Sequence[Figure]) -> str:
    """Lay the figures out as a table."""
    head = f"{'figure':44} {'goal':>10} {'judged':>10} {'measured':>12} {'baseline':>10} {'ratio':>7}  met"
    return "\n".join([head, *(_line(figure) for figure in figures)])


def _line(figure: Figure) -> str:
    sign = ">=" if figure.higher_is_better else "<="
    goal = "-" if figure.goal is None else f"{sign}{figure.goal:g}"
    baseline = "-" if figure.baseline is None else f"{figure.baseline:.1f}"
    ratio = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
    met = {True: "yes", False: "NO", None: "-"}[figure.met]
    measured = f"{figure.measured:.1f} {figure.unit}"
    text = (
        f"{figure.name:44} {goal:>10} {figure.value:>10.2f} {measured:>12} {baseline:>10} {ratio:>7}  {met}"
    )
    return f"{text}  {figure.note}" if figure.note else text


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that ``work`` takes."""
    start = perf_counter()
    work()
    return (perf_counter() - start) * 1000


def middle(samples: Sequence[float]) -> float:
    """The median."""
    return median(samples)


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample below which ``share`` of all lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
