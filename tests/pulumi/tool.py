"""A run of byoc as far as the engine is concerned: opens the stack, runs ``up``, says what happens.

Started by :meth:`tests.pulumi.world.World.tool` and interrupted in all the ways a user has.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from byoc.bootstrap.engine.events import Progress, Started
from byoc.bootstrap.engine.find import judge
from byoc.bootstrap.engine.objects import FolderObjects
from byoc.bootstrap.engine.session import Backend, Run, Session
from byoc.bootstrap.engine.stack import Stack
from byoc.clock import SystemClock
from byoc.errors import ByocError
from tests.pulumi.program import Shape, cell


def say(text: str) -> None:
    """Tell the test."""
    print(text, flush=True)  # noqa: T201


def show(fact: Progress) -> None:
    """Tell the test which resource is being made."""
    if isinstance(fact, Started):
        say(f"started {fact.subject.name} {fact.subject.type}")


def main() -> int:
    """Run ``up`` once; the exit code is that of the error."""
    # A background job of a shell starts with SIGINT ignored; a terminal's does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    facts = json.loads(sys.argv[1])
    run = Run(
        pulumi=judge(Path(facts["binary"]), "v3.259.0", "3.259.0"),
        home=Path(facts["home"]),
        folder=Path(facts["folder"]),
        hostname=os.uname().nodename,
        tell=lambda text: say(f"told {text}"),
        env=facts["env"],
    )
    backend = Backend(facts["url"], FolderObjects.of(facts["url"]), "passphrase")
    try:
        stack = Stack.open(Session(run, SystemClock()), "byoc", "prod", partial(cell, Shape()), backend)
        stack.up(show)
    except ByocError as error:
        say(f"failed {type(error).__name__}: {error.message} / {error.hint}")
        return error.exit_code
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
