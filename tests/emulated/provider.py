"""An `aws` provider plugin for tests: Pulumi's protocol on one side, the emulated account on the other.

Run by the engine as ``pulumi-resource-aws``, or attached in the test's own process. What it knows of AWS
is in the handlers. ``AWS_ENDPOINT_URL`` says where the account is; ``BYOC_TEST_FAULT`` what goes wrong
around a creation: ``{"TYPE": {"before": seconds, "after": seconds, "error": text}}``.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Not beside this file, where modules have names that others import.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from tests.emulated import resources
from tests.emulated.handlers import REGISTRY
from tests.emulated.handlers.handler import REGION, Aws, Handler, Invoke, Properties, Refused
from tests.emulated.protocol import Plugin, changed, name_of, received, run, sent, token_of, told
from tests.emulated.semantics import differences, foreseen, merged, prepared, refusals, replacing

FAULT = "BYOC_TEST_FAULT"


class Provider(Plugin):
    """The plugin's side of the protocol; its method names are the protocol's."""

    package = "aws"

    def __init__(self, aws: Aws, faults: Mapping[str, Any] | None = None) -> None:
        self._aws = aws
        self._faults = faults or {}

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler = _handler(request.urn, context)
        inputs = prepared(handler, received(request.news), name_of(request.urn))
        bad = [pb.CheckFailure(reason=said) for said in refusals(handler, inputs, self._aws.region)]
        return pb.CheckResponse(inputs=sent(inputs), failures=bad)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler = _handler(request.urn, context)
        paths = _wanted(handler, request)
        anew = replacing(handler, paths)
        return changed(paths, anew, delete_before_replace=handler.delete_before_replace)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler, inputs = _handler(request.urn, context), received(request.properties)
        if request.preview:
            return pb.CreateResponse(properties=sent(foreseen(handler, inputs)))
        fault = self._faults.get(handler.token, {})
        with told(context, "creating", request.urn):
            time.sleep(fault.get("before", 0))
            if fault.get("error"):
                raise Refused(fault["error"], "as the test wants it")
            identity, outputs = resources.create(self._aws, handler.token, name_of(request.urn), inputs)
            time.sleep(fault.get("after", 0))
            return pb.CreateResponse(id=identity, properties=sent(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        token = _handler(request.urn, context).token
        state, inputs = received(request.properties), received(request.inputs)
        with told(context, "reading", request.urn):
            live = resources.read(self._aws, token, request.id, state, inputs)
            if live is None:
                return pb.ReadResponse()
            return pb.ReadResponse(id=request.id, properties=sent(live[0]), inputs=sent(live[1]))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        handler, inputs, before = _handler(request.urn, context), received(request.news), _before(request)
        if request.preview:
            return pb.UpdateResponse(properties=sent(merged(inputs, received(request.olds))))
        with told(context, "updating", request.urn):
            outputs = resources.update(self._aws, handler.token, request.id, before, inputs)
            return pb.UpdateResponse(properties=sent(outputs))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        token = _handler(request.urn, context).token
        with told(context, "deleting", request.urn):
            resources.delete(self._aws, token, request.id, received(request.properties))
        return empty_pb2.Empty()


def _before(request: Any) -> Properties:
    return received(request.old_inputs) or received(request.olds)


def _wanted(handler: Handler, request: Any) -> set[str]:
    paths = differences(handler, _before(request), received(request.news))
    ignored = tuple(request.ignoreChanges)
    return {path for path in paths if not any(path == one or path.startswith(f"{one}.") for one in ignored)}


def _handler(urn: str, context: Any) -> Handler:
    found = REGISTRY.get(token_of(urn))
    if found is None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{token_of(urn)} is not emulated")
        raise LookupError(urn)
    return found


def invoker(aws: Aws) -> Invoke:
    """What runs a function: the account itself, if the test has made it run functions."""

    def invoke(function: str, payload: dict[str, Any]) -> dict[str, Any]:
        answer = aws("lambda").invoke(FunctionName=function, Payload=json.dumps(payload).encode())
        said: dict[str, Any] = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise Refused(said.get("errorType", "Unhandled"), said.get("errorMessage", ""))
        return said

    return invoke


def from_environment(environment: Mapping[str, str]) -> Provider:
    """The provider of the account that an environment names."""
    aws = Aws(environment["AWS_ENDPOINT_URL"], environment.get("AWS_REGION", REGION))
    aws.invoke = invoker(aws)
    return Provider(aws, json.loads(environment.get(FAULT) or "{}"))


if __name__ == "__main__":
    run(lambda: from_environment(os.environ))
