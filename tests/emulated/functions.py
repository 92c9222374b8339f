"""Lambda that runs: each call unpacks the function's own package and runs it in a Python of its own.

moto keeps functions and runs none without containers. The package is what was deployed, to the byte; it
sees the standard library and itself, as in AWS's runtime, and nothing of this clone.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from moto.awslambda.models import LambdaFunction

_RUN = """
import importlib, json, sys
root, handler = sys.argv[1:]
sys.path.insert(0, root)
module, _, name = handler.rpartition(".")
class Context:
    def get_remaining_time_in_millis(self):
        return 60_000
try:
    answer = getattr(importlib.import_module(module), name)(json.load(sys.stdin), Context())
except Exception as error:
    answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
json.dump(answer, sys.stdout)
"""
SECONDS = 90

Environment = Callable[[str], Mapping[str, str]]
"""What a function of a name finds in its environment besides its own settings."""


@contextmanager
def running(environment: Environment) -> Iterator[None]:
    """Let the emulated account run its functions while inside."""
    before = LambdaFunction._invoke_lambda

    def run(function: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
        text = _run(function, event, environment(function.function_name))
        return text, "errorMessage" in json.loads(text), ""

    LambdaFunction._invoke_lambda = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        LambdaFunction._invoke_lambda = before  # type: ignore[method-assign]


def _run(function: LambdaFunction, event: Any, more: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory() as root:
        zipfile.ZipFile(io.BytesIO(function.code_bytes)).extractall(root)
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _RUN, root, str(function.handler)],
            input=event if isinstance(event, str) else json.dumps(event),
            env={
                "PATH": os.defpath,
                "LAMBDA_TASK_ROOT": root,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "of-the-role",
                "AWS_SECRET_ACCESS_KEY": "of-the-role",
                **function.environment_vars,
                **more,
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    if ended.returncode:
        return json.dumps({"errorType": "Runtime.ExitError", "errorMessage": ended.stderr[-2000:]})
    return ended.stdout
