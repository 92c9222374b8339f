"""Entry of ``benchmarks/run``: choose a benchmark, run it, print its figures.

Benchmarks are no tests: they never fail a build. Every figure that has a baseline takes it
in the same run, because the machines are noisy.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

for folder in (Path(__file__).parents[1], Path(__file__).parent):  # the tests' emulations, and the benchmarks
    sys.path.insert(0, str(folder))

from figures import Figure, render  # noqa: E402 - found in the folders just added

NAMES = ("loop", "cell", "guard", "kubernetes")


def main() -> int:
    """Run one benchmark and print it."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--runs", type=int, default=20, help="repetitions behind each median")
    arguments = parser.parse_args()
    figures: list[Figure] = importlib.import_module(arguments.name).measure(arguments.runs)
    if arguments.output == "json":
        print(json.dumps([figure.as_dict() for figure in figures], indent=2))
    else:
        print(render(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
