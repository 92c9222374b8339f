"""A `kubernetes` provider plugin for tests: each object of ours by server-side apply, and no more.

Run by the engine as ``pulumi-resource-kubernetes``, or attached. It knows the kinds that a bundle holds.
No waiting for readiness, no charts: the program asks for neither.
"""

import base64
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from ssl import create_default_context
from typing import Any
from urllib.parse import urlencode, urlsplit

if __name__ == "__main__":
    # Not beside this file, where modules have names that others import.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from byoc.cell.installer.kinds import ORDER, Kind
from tests.emulated.handlers.handler import UNKNOWN, Properties, Refused
from tests.emulated.protocol import Plugin, changed, name_of, received, run, sent, told
from tests.emulated.semantics import has_unknown

MANAGER = "pulumi-kubernetes"
_APPLY = "application/apply-patch+yaml"
_ABSENT = 404
_ENDING = 60.0


class Api:
    """One API server, as a kubeconfig names it.

    Args:
        config: text of the kubeconfig, in JSON as the program writes it; its user has a token, or a
            command that prints one.
    """

    def __init__(self, config: str) -> None:
        said = json.loads(config)
        around = _named(said["contexts"], said["current-context"])["context"]
        cluster = _named(said["clusters"], around["cluster"])["cluster"]
        self._where = urlsplit(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = create_default_context(cadata=authority)
        self._user = _named(said["users"], around["user"])["user"]
        self._held, self._until = "", datetime.min.replace(tzinfo=UTC)
        self._lock = threading.Lock()

    def _token(self) -> str:
        if "token" in self._user:
            return str(self._user["token"])
        with self._lock:
            if datetime.now(UTC) >= self._until:
                self._ask()
            return self._held

    def _ask(self) -> None:
        """Run the user's command; its answer says for how long it holds, as every client takes it."""
        command = self._user["exec"]
        ended = subprocess.run(
            [command["command"], *command.get("args", ())], capture_output=True, text=True, check=True
        )
        status = json.loads(ended.stdout)["status"]
        self._held = str(status["token"])
        if until := status.get("expirationTimestamp"):
            self._until = datetime.fromisoformat(until)

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """The answer; ``None`` where there is no such object.

        Raises:
            Refused: the server would not.
        """
        connection = http.client.HTTPSConnection(
            str(self._where.hostname), self._where.port, timeout=30, context=self._trust
        )
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": kind}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status == _ABSENT and method in {"GET", "DELETE"}:
            return None
        answer = json.loads(text)
        if response.status >= 300:
            raise Refused(str(response.status), str(answer.get("message", "")))
        return answer


def _named(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["name"] == name)


def _kind(manifest: Mapping[str, Any]) -> Kind:
    for kind in ORDER:
        if (kind.api, kind.name) == (manifest["apiVersion"], manifest["kind"]):
            return kind
    raise Refused("404", f"the bundle has no kind {manifest['kind']} in {manifest['apiVersion']}")


def path_of(manifest: Mapping[str, Any]) -> str:
    """Where the server keeps an object."""
    kind, metadata = _kind(manifest), manifest["metadata"]
    root = f"/apis/{kind.api}" if "/" in kind.api else f"/api/{kind.api}"
    space = f"/namespaces/{metadata.get('namespace') or 'default'}" if kind.namespaced else ""
    return f"{root}{space}/{kind.plural}/{metadata['name']}"


def projected(live: Any, wanted: Any) -> Any:
    """That part of ``live`` of which ``wanted`` speaks."""
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        return {name: projected(live[name], below) for name, below in wanted.items() if name in live}
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        return [projected(one, other) for one, other in zip(live, wanted, strict=True)]
    return live


class Provider(Plugin):
    """The plugin's side of the protocol; its method names are the protocol's."""

    package = "kubernetes"

    def __init__(self) -> None:
        self._api: Api | None = None

    def Configure(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        config = received(request.args).get("kubeconfig")
        if config and config != UNKNOWN:
            self._api = Api(config)
        return pb.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        inputs = {name: value for name, value in received(request.news).items() if not name.startswith("__")}
        missing = [
            pb.CheckFailure(property=name, reason=f"an object of ours says its {name}")
            for name in ("apiVersion", "kind", "metadata")
            if name not in inputs
        ]
        return pb.CheckResponse(inputs=sent(inputs), failures=missing)

    def Diff(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        old, new = received(request.old_inputs) or received(request.olds), received(request.news)
        paths = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        paths = {path for path in paths if not path.startswith("__")}
        elsewhere = path_of(old) != path_of(new)
        anew = {"metadata"} if elsewhere else paths & {"spec"} if _kind(new).replaced else set()
        return changed(paths, anew, delete_before_replace=True)

    def _apply(self, properties: Properties, *, dry: bool) -> Properties:
        wanted = {name: value for name, value in properties.items() if name != "status"}
        if self._api is None or (dry and has_unknown(wanted)):
            if dry:
                return wanted
            raise Refused("NoCluster", "the provider has no kubeconfig")
        asked = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry else {})}
        try:
            live = self._api.call("PATCH", f"{path_of(wanted)}?{urlencode(asked)}", wanted, _APPLY)
        except Refused as refusal:
            # Its namespace, which the same run makes, is not there yet.
            if dry and refusal.code == str(_ABSENT):
                return wanted
            raise
        live["metadata"].pop("managedFields", None)
        return {**wanted, **live}

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        wanted = received(request.properties)
        with told(context, "creating", request.urn):
            live = self._apply(wanted, dry=request.preview)
            metadata = wanted["metadata"]
            space = metadata.get("namespace") or "default"
            identity = f"{space}/{metadata['name']}" if _kind(wanted).namespaced else metadata["name"]
            return pb.CreateResponse(id="" if request.preview else identity, properties=sent(live))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        with told(context, "updating", request.urn):
            live = self._apply(received(request.news), dry=request.preview)
            return pb.UpdateResponse(properties=sent(live))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        known = received(request.inputs) or received(request.properties)
        with told(context, "reading", request.urn):
            live = self._reach().call("GET", path_of(known))
            if live is None:
                return pb.ReadResponse()
            live["metadata"].pop("managedFields", None)
            return pb.ReadResponse(id=request.id, properties=sent(live), inputs=sent(projected(live, known)))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        with told(context, "deleting", request.urn):
            path, end = path_of(received(request.properties)), time.monotonic() + _ENDING
            self._reach().call("DELETE", path, {"propagationPolicy": "Foreground"})
            while self._reach().call("GET", path) is not None:
                if time.monotonic() > end:
                    raise Refused("Timeout", f"{name_of(request.urn)} does not end")
                time.sleep(0.05)
        return empty_pb2.Empty()

    def _reach(self) -> Api:
        if self._api is None:
            raise Refused("NoCluster", "the provider has no kubeconfig")
        return self._api


if __name__ == "__main__":
    run(Provider)
