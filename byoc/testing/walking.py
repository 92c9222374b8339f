"""A walk along the plan, for tests of runtimes: what a reconciler does, without one.

Observe, plan, act, until the plan is done. Time is the runtime's own, so waits are short ones.
"""

import asyncio
from typing import Final

from byoc.clock import SystemClock
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.runtime import Runtime, Secrets
from byoc.model.spec import WorkspaceSpec

_MOST_STEPS: Final = 400
_LONGEST_WAIT: Final = 0.05


async def step(runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, *, times: int = 1) -> Step:
    """Take the next step of the plan, its action ``times`` over, and return it."""
    situation = Situation(password_version=secrets.password_version)
    taken = plan(spec, situation, await runtime.observe(spec.id), SystemClock().now())
    if taken.action is not None:
        for _ in range(times):
            await runtime.act(spec, taken.action, secrets)
    elif taken.retry_after is not None:
        await asyncio.sleep(min(taken.retry_after, _LONGEST_WAIT))
    return taken


async def walk(runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, *, times: int = 1) -> list[Step]:
    """Take steps until the plan is done, and return them all.

    Raises:
        AssertionError: there is no end in sight.
    """
    steps: list[Step] = []
    while len(steps) < _MOST_STEPS:
        steps.append(await step(runtime, spec, secrets, times=times))
        if steps[-1].done:
            return steps
    message = f"no end in sight: {steps[-1]}"
    raise AssertionError(message)
