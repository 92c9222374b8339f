"""What both test-only providers share of Pulumi's protocol: messages, refusals, a plugin's life.

A plugin prints its port as its first line, serves, and ends with the process that started it: a killed
engine must leave no process behind.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as pb

from tests.emulated.handlers.handler import Properties, Refused
from tests.emulated.semantics import plain_numbers

_SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
_WATCH = 0.5


def received(message: Any) -> Properties:
    """The properties in a message: secrets out of their wrapping, whole numbers as such."""
    made: Properties = plain_numbers(_plain(json_format.MessageToDict(message)))
    return made


def sent(properties: Mapping[str, Any]) -> Any:
    """Properties as a message."""
    message = struct_pb2.Struct()
    message.update(dict(properties))
    return message


def name_of(urn: str) -> str:
    """The logical name in a URN."""
    return urn.split("::", 3)[3]


def token_of(urn: str) -> str:
    """The type in a URN, without its parents'."""
    return urn.split("::")[2].rpartition("$")[2]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return _plain(value["value"])
        return {name: _plain(below) for name, below in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


@contextmanager
def told(context: Any, doing: str, urn: str) -> Iterator[None]:
    """Tell the engine of a refusal in the words of who refused; of a fault of ours too, by its name."""
    try:
        yield
    except Refused as error:
        context.abort(grpc.StatusCode.UNKNOWN, f"{doing} {name_of(urn)}: {error}")
    except Exception as error:  # noqa: BLE001 - else the engine would see a lost connection
        context.abort(grpc.StatusCode.UNKNOWN, f"{doing} {name_of(urn)}: {error!r}")


class Plugin(provider_pb2_grpc.ResourceProviderServicer):  # type: ignore[misc]
    """What the protocol asks of any provider; the method names are the protocol's."""

    package = ""

    @property
    def version(self) -> str:
        """The very version that the SDK asks for; the engine takes no other."""
        return metadata.version(f"pulumi-{self.package}")

    def Handshake(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.ProviderHandshakeResponse()

    def Attach(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return empty_pb2.Empty()

    def Cancel(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return empty_pb2.Empty()

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return plugin_pb2.PluginInfo(version=self.version)

    def GetSchema(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.GetSchemaResponse(schema=json.dumps({"name": self.package, "version": self.version}))

    def CheckConfig(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.CheckResponse(inputs=request.news)

    def DiffConfig(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.DiffResponse(changes=pb.DiffResponse.DIFF_NONE)

    def Configure(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.ConfigureResponse(supportsPreview=True)

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"a cell's program asks nobody: {request.tok}")


def changed(paths: set[str], anew: set[str], *, delete_before_replace: bool) -> Any:
    """The answer to a Diff."""
    kinds = {
        path: pb.PropertyDiff(
            kind=pb.PropertyDiff.UPDATE_REPLACE if path in anew else pb.PropertyDiff.UPDATE, inputDiff=True
        )
        for path in paths
    }
    return pb.DiffResponse(
        changes=pb.DiffResponse.DIFF_SOME if paths else pb.DiffResponse.DIFF_NONE,
        replaces=sorted(anew),
        diffs=sorted({path.partition(".")[0] for path in paths}),
        detailedDiff=kinds,
        hasDetailedDiff=True,
        deleteBeforeReplace=delete_before_replace,
    )


def start(plugin: Plugin) -> tuple[Any, int]:
    """Begin to serve on loopback; the server and its port."""
    options = [("grpc.max_receive_message_length", 400 << 20)]
    server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


@contextmanager
def attached(*plugins: Plugin) -> Iterator[dict[str, str]]:
    """Serve providers from this process; the environment that makes an engine dial them."""
    started = [(plugin.package, *start(plugin)) for plugin in plugins]
    try:
        yield {"PULUMI_DEBUG_PROVIDERS": ",".join(f"{package}:{port}" for package, _, port in started)}
    finally:
        for _, server, _ in started:
            server.stop(grace=None).wait()


def run(make: Callable[[], Plugin]) -> None:
    """Be a plugin process: print the port and serve until the engine ends it, or is gone itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH)
        os._exit(0)

    server, port = start(make())
    threading.Thread(target=watch, daemon=True).start()
    print(port, flush=True)  # noqa: T201 - how a plugin tells its port
    server.wait_for_termination()
