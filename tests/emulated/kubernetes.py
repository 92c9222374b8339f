"""A small Kubernetes API server over HTTPS: enough of it to install into, with the semantics that matter.

Server-side apply with field ownership, dry runs, merge patches, label selectors, fields that are set
for ever, namespaces that end slowly and take what is in them along. Nothing runs in it. The real API
server passes the same stories in tests/kubernetes.
"""

import base64
import copy
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from byoc.wire.certificates import make_authority, make_server_certificate
from tests.emulated.objects import Json, Refusal, Stored, merge

PLURALS = {
    "/api/v1": {
        "namespaces",
        "serviceaccounts",
        "configmaps",
        "secrets",
        "services",
        "pods",
        "persistentvolumes",
    },
    "/apis/apps/v1": {"statefulsets", "deployments"},
    "/apis/policy/v1": {"poddisruptionbudgets"},
    "/apis/networking.k8s.io/v1": {"networkpolicies"},
    "/apis/storage.k8s.io/v1": {"storageclasses"},
    "/apis/scheduling.k8s.io/v1": {"priorityclasses"},
    "/apis/coordination.k8s.io/v1": {"leases"},
    "/apis/rbac.authorization.k8s.io/v1": {"roles", "rolebindings", "clusterroles", "clusterrolebindings"},
    "/apis/admissionregistration.k8s.io/v1": {
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    },
}
NAMESPACES = "/api/v1/namespaces"


@dataclass
class Cluster:
    """What the server holds, and how it behaves.

    Attributes:
        admits: whether a bearer token is known.
        failures: statuses that the next requests are answered with.
        lingering: how often an ending namespace is still seen.
        asked: every request, as ``METHOD path``.
    """

    admits: Callable[[str], bool] = lambda token: token == "token"
    failures: list[int] = field(default_factory=list)
    lingering: int = 2
    objects: dict[str, Stored] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    version: int = 0
    url: str = ""
    authority: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, target: str, token: str, body: Json | None, kind: str) -> tuple[int, Json]:
        """Answer one request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.lock:
            self.asked.append(f"{method} {parts.path}")
            try:
                self._admit(token)
                return self._route(method, parts.path, query, body, kind)
            except Refusal as refusal:
                return refusal.status, {"kind": "Status", "message": refusal.message}

    def _admit(self, token: str) -> None:
        if self.failures:
            raise Refusal(self.failures.pop(0), "so it was arranged")
        if not self.admits(token):
            raise Refusal(401, "Unauthorized")

    def _route(
        self, method: str, path: str, query: dict[str, str], body: Json | None, kind: str
    ) -> tuple[int, Json]:
        root, plural, namespace, name = _parse(path)
        if plural not in PLURALS.get(root, set()):
            raise Refusal(404, "the server could not find the requested resource")
        if method == "GET":
            return 200, self._one(path) if name else self._all(root, plural, namespace, query)
        if method == "DELETE":
            return 200, self._delete(path)
        assert body is not None
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            body["metadata"] |= {"namespace": namespace} if namespace else {}
            if path in self.objects:
                raise Refusal(409, "already exists")
        if namespace and plural != "namespaces":
            self._check_space(namespace)
        return 200, self._write(method, path, query, body, kind)

    def _one(self, path: str) -> Json:
        held = self.objects.get(path)
        if held is None:
            raise Refusal(404, "not found")
        if held.ending:
            held.ending -= 1
            if not held.ending:
                self._drop(path)
        return self._shown(held)

    def _all(self, root: str, plural: str, namespace: str, query: dict[str, str]) -> Json:
        found = []
        for path, held in sorted(self.objects.items()):
            where = _parse(path)
            if where[:2] != (root, plural) or (namespace and where[2] != namespace):
                continue
            if _selected(held.value, query.get("labelSelector", "")):
                item = self._shown(held)
                found.append(
                    {name: value for name, value in item.items() if name not in {"apiVersion", "kind"}}
                )
        return {"kind": "List", "items": found[: int(query.get("limit", len(found)))]}

    def _delete(self, path: str) -> Json:
        held = self.objects.get(path)
        if held is None:
            raise Refusal(404, "not found")
        if path.startswith(NAMESPACES) and _parse(path)[1] == "namespaces" and self.lingering:
            held.value["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            held.ending = held.ending or self.lingering
            return self._shown(held)
        self._drop(path)
        return {"kind": "Status", "status": "Success"}

    def _drop(self, path: str) -> None:
        namespace = path.rpartition("/")[2] if _parse(path)[1] == "namespaces" else ""
        self.objects = {
            each: held
            for each, held in self.objects.items()
            if each != path and not (namespace and _parse(each)[2] == namespace)
        }

    def _check_space(self, namespace: str) -> None:
        space = self.objects.get(f"{NAMESPACES}/{namespace}")
        if space is None:
            raise Refusal(404, f'namespaces "{namespace}" not found')
        if space.value["metadata"].get("deletionTimestamp"):
            raise Refusal(
                403, f"unable to create new content in namespace {namespace}: it is being terminated"
            )

    def _write(self, method: str, path: str, query: dict[str, str], body: Json, kind: str) -> Json:
        manager = query.get("fieldManager", "kubectl")
        old = self.objects.get(path)
        if old is None and (method == "PUT" or (method == "PATCH" and "apply" not in kind)):
            raise Refusal(404, "not found")
        body = {name: value for name, value in body.items() if name != "stringData"} | _encoded(body)
        held = old or Stored({"apiVersion": body.get("apiVersion"), "kind": body.get("kind"), "metadata": {}})
        if method == "PATCH" and "apply" in kind:
            held.value["metadata"] |= {
                n: body["metadata"][n] for n in ("name", "namespace") if n in body["metadata"]
            }
            new = held.applied(manager, body, force=query.get("force") == "true")
        elif method == "PATCH":
            self._check_version(held, body)
            new = held.updated(manager, merge(held.value, body))
        else:
            self._check_version(held, body)
            new = held.updated(manager, _whole(held.value, body))
        return self._keep(path, old, new, dry=query.get("dryRun") == "All")

    def _check_version(self, held: Stored, body: Json) -> None:
        wanted = body.get("metadata", {}).pop("resourceVersion", None)
        if wanted and wanted != held.value["metadata"].get("resourceVersion"):
            raise Refusal(409, "the object has been modified")

    def _keep(self, path: str, old: Stored | None, new: Stored, *, dry: bool) -> Json:
        metadata = new.value["metadata"]
        if old is None or old.content() != new.content():
            self.version += 1
            metadata["resourceVersion"] = str(self.version)
            spec = None if old is None else old.value.get("spec")
            before = 0 if old is None else old.value["metadata"].get("generation", 0)
            metadata["generation"] = before + (1 if spec != new.value.get("spec") or old is None else 0)
        else:
            kept = ("resourceVersion", "generation")
            metadata |= {name: old.value["metadata"][name] for name in kept}
        metadata.setdefault("uid", f"uid-{self.version}")
        if not dry:
            self.objects[path] = new
        return self._shown(new)

    def _shown(self, held: Stored) -> Json:
        shown = copy.deepcopy(held.value)
        shown["metadata"]["managedFields"] = held.managed_fields()
        return shown


def _parse(path: str) -> tuple[str, str, str, str]:
    """Return (root, plural, namespace, name) of a path."""
    pieces = path.strip("/").split("/")
    size = 2 if pieces[0] == "api" else 3
    root, rest = "/" + "/".join(pieces[:size]), pieces[size:]
    if len(rest) > 2 and rest[0] == "namespaces":
        return root, rest[2], rest[1], rest[3] if len(rest) > 3 else ""
    return root, rest[0] if rest else "", "", rest[1] if len(rest) > 1 else ""


def _whole(held: Json, body: Json) -> Json:
    own = {name: value for name, value in held["metadata"].items() if name in {"uid", "deletionTimestamp"}}
    status = {"status": held["status"]} if "status" in held else {}
    return {**body, **status, "metadata": {**body["metadata"], **own}}


def _encoded(body: Json) -> Json:
    plain = body.get("stringData")
    if not plain:
        return {}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
    return {"data": {**body.get("data", {}), **encoded}}


def _selected(value: Json, selector: str) -> bool:
    labels = value["metadata"].get("labels") or {}
    wanted = [each.partition("=") for each in selector.split(",") if each]
    return all(labels.get(n) == v if sign else n in labels for n, sign, v in wanted)


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        kind = self.headers.get("Content-Type") or ""
        status, value = self.cluster.answer(self.command, self.path, token, body, kind)
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    # The library looks for methods of these names.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815


class _Server(ThreadingHTTPServer):
    """A server to whom a client that connects and says nothing does not matter, as to a real one.

    The hands are shaken by the thread that serves the connection. Shaken where connections are taken, one
    client that waits for the answer to another of its own connections waits for itself.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cluster: Cluster, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        plain, address = super().get_request()
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that trusts another authority ends the handshake."""


@contextmanager
def serving(cluster: Cluster, folder: Path) -> Iterator[Cluster]:
    """Serve ``cluster`` on loopback, under an authority of its own."""
    now = datetime.now(UTC)
    authority = make_authority(name="cluster", now=now)
    made = make_server_certificate(authority, now=now)
    pem = folder / "server.pem"
    pem.write_bytes(made.certificate + made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = _Server(cluster, context)
    cluster.url = f"https://127.0.0.1:{server.server_address[1]}"
    cluster.authority = authority.certificate.decode()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
