"""An `aws` provider plugin for tests: Pulumi's protocol on one side, the emulated account on the other.

Run by the engine as ``pulumi-resource-aws``, or attached in the test's own process. What it knows of AWS
is in the handlers. ``AWS_ENDPOINT_URL`` says where the account is; ``BYOC_TEST_FAULT`` what goes wrong
around a creation: ``{"TYPE": {"before": seconds, "after": seconds, "error": text}}``. It ends with its
parent: a killed engine must leave no process behind.
"""

import importlib
import json
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as pb

from tests.emulated.handlers.handler import REGISTRY, Aws, Handler, Invoke, Properties, Refused
from tests.emulated.semantics import (
    differences,
    foreseen,
    inputs_of,
    merged,
    plain_numbers,
    prepared,
    refusals,
    replacing,
    settled,
)

FAULT = "BYOC_TEST_FAULT"
_SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


def _plain(value: Any) -> Any:
    """Take secrets out of their wrapping."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return _plain(value["value"])
        return {name: _plain(below) for name, below in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _read(message: Any) -> Properties:
    made: Properties = plain_numbers(_plain(json_format.MessageToDict(message)))
    return made


def _struct(properties: Mapping[str, Any]) -> Any:
    message = struct_pb2.Struct()
    message.update(dict(properties))
    return message


class Provider(provider_pb2_grpc.ResourceProviderServicer):  # type: ignore[misc]
    """The plugin's side of the protocol; its method names are the protocol's."""

    def __init__(self, aws: Aws, faults: Mapping[str, Any]) -> None:
        self._aws = aws
        self._faults = faults

    def Handshake(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.ProviderHandshakeResponse()

    def Attach(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return empty_pb2.Empty()

    def Cancel(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return empty_pb2.Empty()

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi-aws"))

    def GetSchema(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        schema = {"name": "aws", "version": metadata.version("pulumi-aws")}
        return pb.GetSchemaResponse(schema=json.dumps(schema))

    def CheckConfig(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.CheckResponse(inputs=request.news)

    def DiffConfig(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.DiffResponse(changes=pb.DiffResponse.DIFF_NONE)

    def Configure(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler = _handler(request.urn, context)
        inputs = prepared(handler, _read(request.news), _name(request.urn))
        bad = [pb.CheckFailure(reason=said) for said in refusals(handler, inputs, self._aws.region)]
        return pb.CheckResponse(inputs=_struct(inputs), failures=bad)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler = _handler(request.urn, context)
        old = _read(request.old_inputs) or _read(request.olds)
        changed = differences(handler, old, _read(request.news))
        changed = {path for path in changed if not _ignored(path, request.ignoreChanges)}
        anew = replacing(handler, changed)
        kinds = {
            path: pb.PropertyDiff(
                kind=pb.PropertyDiff.UPDATE_REPLACE if path in anew else pb.PropertyDiff.UPDATE,
                inputDiff=True,
            )
            for path in changed
        }
        return pb.DiffResponse(
            changes=pb.DiffResponse.DIFF_SOME if changed else pb.DiffResponse.DIFF_NONE,
            replaces=sorted(anew),
            diffs=sorted({path.partition(".")[0] for path in changed}),
            detailedDiff=kinds,
            hasDetailedDiff=True,
            deleteBeforeReplace=handler.delete_before_replace,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler, inputs = _handler(request.urn, context), _read(request.properties)
        if request.preview:
            return pb.CreateResponse(properties=_struct(foreseen(handler, inputs)))
        fault = self._faults.get(handler.token, {})
        with _told(context, "creating", request.urn):
            time.sleep(fault.get("before", 0))
            if fault.get("error"):
                raise Refused(fault["error"], "as the test wants it")
            identity = handler.create(self._aws, inputs)
            outputs = settled(handler, inputs, self._live(handler, identity))
            time.sleep(fault.get("after", 0))
            return pb.CreateResponse(id=identity, properties=_struct(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler = _handler(request.urn, context)
        with _told(context, "reading", request.urn):
            live = handler.read(self._aws, request.id)
            if live is None:
                return pb.ReadResponse()
            state, inputs = _read(request.properties), _read(request.inputs)
            return pb.ReadResponse(
                id=request.id,
                properties=_struct(settled(handler, state, live)),
                inputs=_struct(inputs_of(handler, inputs, live)),
            )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler, inputs, state = _handler(request.urn, context), _read(request.news), _read(request.olds)
        if request.preview:
            return pb.UpdateResponse(properties=_struct(merged(inputs, state)))
        with _told(context, "updating", request.urn):
            changed = differences(handler, _read(request.old_inputs) or state, inputs)
            changed = {path for path in changed if not _ignored(path, request.ignoreChanges)}
            handler.change(self._aws, request.id, _read(request.old_inputs) or state, inputs, changed)
            return pb.UpdateResponse(
                properties=_struct(settled(handler, inputs, self._live(handler, request.id)))
            )

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler = _handler(request.urn, context)
        with _told(context, "deleting", request.urn):
            handler.delete(self._aws, request.id, _read(request.properties))
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"a cell's program asks nobody: {request.tok}")

    def _live(self, handler: Handler, identity: str) -> Properties:
        live = handler.read(self._aws, identity)
        if live is None:
            raise Refused("NotFound", f"{identity} is gone")
        return live


def _handler(urn: str, context: Any) -> Handler:
    token = urn.split("::")[2].rpartition("$")[2]
    found = REGISTRY.get(token)
    if found is None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{token} is not emulated")
        raise LookupError(token)
    return found


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]


def _ignored(path: str, by: Any) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in by)


@contextmanager
def _told(context: Any, doing: str, urn: str) -> Iterator[None]:
    """Tell the engine of a refusal in AWS's words; of a fault of ours too, by its name."""
    try:
        yield
    except Refused as error:
        context.abort(grpc.StatusCode.UNKNOWN, f"{doing} {_name(urn)}: {error}")
    except Exception as error:  # noqa: BLE001 - else the engine would see a lost connection
        context.abort(grpc.StatusCode.UNKNOWN, f"{doing} {_name(urn)}: {error!r}")


def invoker(aws: Aws) -> Invoke:
    """What runs a function: the account itself, if the test has made it run functions."""

    def invoke(function: str, payload: dict[str, Any]) -> dict[str, Any]:
        answer = aws("lambda").invoke(FunctionName=function, Payload=json.dumps(payload).encode())
        told: dict[str, Any] = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise Refused(told.get("errorType", "Unhandled"), told.get("errorMessage", ""))
        return told

    return invoke


def _load() -> None:
    """Let every module of handlers register its own."""
    for module in pkgutil.iter_modules([str(Path(__file__).with_name("handlers"))]):
        importlib.import_module(f"tests.emulated.handlers.{module.name}")


def serve(environment: Mapping[str, str]) -> tuple[Any, int]:
    """Start to serve; returns the server and its port."""
    _load()
    aws = Aws(environment["AWS_ENDPOINT_URL"], environment.get("AWS_REGION", "us-east-1"))
    aws.invoke = invoker(aws)
    server = grpc.server(
        futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", 400 << 20)]
    )
    servicer = Provider(aws, json.loads(environment.get(FAULT) or "{}"))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Be a plugin: print the port and serve until the engine ends it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    server, port = serve(os.environ)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    print(port, flush=True)  # noqa: T201 - how a plugin tells its port
    server.wait_for_termination()


if __name__ == "__main__":
    main()
