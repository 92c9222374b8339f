"""Pulumi's language host for Python, as far as plain ``pulumi`` needs it in tests.

The real one comes with an installed Pulumi and needs a module that is published nowhere. The engine looks
for ``pulumi-language-python`` beside its own binary; a two-line launcher there runs this file.
"""

import json
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from concurrent import futures
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2 as pb
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2


def _packages() -> Iterator[dict[str, str]]:
    """Providers that the installed SDKs ask for; other distributions are large and stay unopened."""
    for found in metadata.distributions():
        name = (found.metadata["Name"] or "").lower().replace("-", "_")
        if not name.startswith("pulumi_"):
            continue
        file = Path(str(found.locate_file(f"{name}/pulumi-plugin.json")))
        if file.exists():
            about = json.loads(file.read_text(encoding="utf-8"))
            if about.get("resource"):
                version = about.get("version") or found.version
                yield {"name": about["name"], "kind": "resource", "version": version}


class Host(language_pb2_grpc.LanguageRuntimeServicer):  # type: ignore[misc]
    """The host's side of the protocol; its method names are the protocol's."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def Handshake(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.LanguageHandshakeResponse()

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi"))

    def GetRequiredPackages(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        packages = [plugin_pb2.PackageDependency(**one) for one in _packages()]
        return pb.GetRequiredPackagesResponse(packages=packages)

    def GetRequiredPlugins(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.GetRequiredPluginsResponse()

    def InstallDependencies(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return iter(())

    def About(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def GetProgramDependencies(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.GetProgramDependenciesResponse()

    def RuntimeOptionsPrompts(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return pb.RuntimeOptionsResponse()

    def Cancel(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        from pulumi.automation._server import LanguageServer  # noqa: PLC0415 - loads much

        folder = Path(request.pwd or request.info.program_directory)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.stdout = sys.stderr  # the first line told the port; what the program prints is no answer
        entry = folder / (request.info.entry_point or request.program or ".")
        main = entry if entry.suffix == ".py" else entry / "__main__.py"
        request.args[:] = [self._engine]

        def program() -> None:
            runpy.run_path(str(main), run_name="__main__")

        return LanguageServer(program).Run(request, context)


def main() -> None:
    """Be a plugin: print the port and serve until the engine ends it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    engine = [word for word in sys.argv[1:] if not word.startswith("-")][-1]
    server = grpc.server(futures.ThreadPoolExecutor(8))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Host(engine), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)  # noqa: T201 - how a plugin tells its port
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
