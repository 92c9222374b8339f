"""An instance that outlives the command: the supervisor in a session of its own.

The command starts ``python -m byoc.embedded``, gives it the options on its standard input and reads
what happens from a pipe, one JSON object a line: steps, then ``ready`` or ``error``.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from byoc.durable import make_folder
from byoc.embedded.options import Report, Step, UpOptions
from byoc.embedded.places import Places
from byoc.embedded.processes import Identity
from byoc.embedded.registry import Instance
from byoc.embedded.supervisor import Ready
from byoc.errors import ByocError, Cancelled, Failed


def start(options: UpOptions, report: Report) -> Ready:
    """Start the supervisor; return once the instance is ready.

    Raises:
        Cancelled: interrupted meanwhile; nothing is left running.
        ByocError: what the supervisor met.
    """
    log = Places(options.data).log / "supervisor.log"
    make_folder(log.parent)
    reading, writing = os.pipe()
    try:
        process = _spawn(options, log, writing)
    finally:
        os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        try:
            return _follow(stream, report, log)
        except KeyboardInterrupt as error:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise Cancelled("stopped before it was ready; nothing is left running") from error
        finally:
            # It goes on without us, which subprocess would otherwise warn about.
            process.returncode = process.poll() or 0


def _spawn(options: UpOptions, log: Path, writing: int) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "byoc.embedded", str(writing)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=dict(options.environment),
            pass_fds=(writing,),
            start_new_session=True,
            cwd="/",
        )
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with process.stdin as stream:
        stream.write(json.dumps({"data": str(options.data), "port": options.port}).encode())
    return process


def _follow(stream: IO[str], report: Report, log: Path) -> Ready:
    for message in _messages(stream):
        if "step" in message:
            report(Step(**message["step"]))
        elif "error" in message:
            raise error_from_json(message["error"])
        else:
            return ready_from_json(message["ready"])
    raise Failed("the supervisor died while it started", hint=f"see {log}")


def _messages(stream: IO[str]) -> Iterator[dict[str, Any]]:
    for line in stream:
        yield json.loads(line)


def error_to_json(error: ByocError) -> dict[str, str]:
    """Return the error as it crosses the pipe."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def error_from_json(value: dict[str, str]) -> ByocError:
    """Return the error of our tree that ``value`` names."""
    waiting: list[type[ByocError]] = [ByocError]
    while waiting:
        kind = waiting.pop()
        if kind.code == value["code"]:
            return kind(value["message"], hint=value["hint"])
        waiting += kind.__subclasses__()
    return Failed(value["message"], hint=value["hint"])


def ready_to_json(ready: Ready) -> dict[str, object]:
    """Return what is known of a ready instance, as it crosses the pipe."""
    instance = ready.instance
    return {
        "url": instance.url,
        "data": str(instance.data),
        "supervisor": [instance.supervisor.pid, instance.supervisor.started],
        "organizationID": instance.organization_id,
        "cellID": instance.cell_id,
        "gateway": instance.gateway,
        "token": ready.token,
        "pids": ready.pids,
    }


def ready_from_json(value: dict[str, Any]) -> Ready:
    """Read what :func:`ready_to_json` wrote."""
    instance = Instance(
        url=value["url"],
        data=Path(value["data"]),
        supervisor=Identity(*value["supervisor"]),
        organization_id=value["organizationID"],
        cell_id=value["cellID"],
        gateway=value["gateway"],
    )
    return Ready(instance, value["token"], value["pids"])
