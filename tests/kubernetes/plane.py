"""A real control plane of Kubernetes on loopback: etcd, API server, controllers, scheduler; no machines.

Started once for the tier, from the one binary that ``scripts/tools plane`` builds. The flags, and what
each is there for, are those that keep it quick and quiet; nothing of its semantics is switched off.
"""

import contextlib
import http.client
import json
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.emulated.clients import Clients

START_SECONDS = 60.0
CONTROLLERS_USER = "system:kube-controller-manager"
SCHEDULER_USER = "system:kube-scheduler"
NODE_GRACE_SECONDS = 8
CONTROLLERS = "*,-nodeipam,-node-route-controller,-service-lb-controller,-cloud-node-lifecycle-controller"


@dataclass
class Plane:
    """A running control plane.

    Attributes:
        tokens: user to bearer token.
        clients: whose certificates of users the API server takes.
        authority: PEM of what signed the API server's certificate.
    """

    home: Path
    binary: Path
    port: int
    tokens: dict[str, str]
    clients: Clients
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> str:
        return (self.home / "pki" / "apiserver.crt").read_text()

    def spawn(self, name: str, *options: str) -> None:
        self.options[name] = options
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [self.binary, name, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End one of the processes at once."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def restart(self, name: str) -> None:
        """Start a killed process again, as it was."""
        self.spawn(name, *self.options[name])
        if name == "kube-apiserver":
            _wait(self)

    def revive(self) -> None:
        """Start again what has ended by itself: a scheduler does that when it has lost track of a pod."""
        for name in [name for name, process in self.processes.items() if process.poll() is not None]:
            self.restart(name)

    def kubeconfig(self, user: str) -> dict[str, Any]:
        """Return what a client needs to speak as ``user``."""
        return _kubeconfig(self, user)

    def ask(
        self,
        user: str,
        method: str,
        path: str,
        body: dict[str, Any] | list[Any] | None = None,
        *,
        kind: str = "",
    ) -> tuple[int, dict[str, Any]]:
        """Return status and answer of one request."""
        context = ssl.create_default_context(cadata=self.authority)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
        with contextlib.closing(connection):
            headers = {
                "Authorization": f"Bearer {self.tokens[user]}",
                "Content-Type": kind or "application/json",
            }
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else {}

    def ready(self) -> bool:
        """Whether the API server answers; raises when it has ended instead."""
        for name in ("etcd", "kube-apiserver"):
            assert self.processes[name].poll() is None, (self.home / f"{name}.log").read_text()[-2000:]
        try:
            return self.ask("admin", "GET", "/readyz")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def running(
    home: Path, binary: Path, users: dict[str, str], reviewer: dict[str, Any] | None = None
) -> Iterator[Plane]:
    """Run a control plane; ``users`` is name to groups, beside ``admin``.

    ``reviewer`` says where the API server asks who holds a token that it does not know.
    """
    everybody = {"admin": "system:masters", CONTROLLERS_USER: "", SCHEDULER_USER: "", **users}
    tokens = {name: secrets.token_hex(16) for name in everybody}
    store, peer, port = _ports(3)
    clients = Clients.make()
    plane = Plane(home, binary, port, tokens, clients)
    rows = [f'{tokens[name]},{name},{name},"{groups}"\n' for name, groups in everybody.items()]
    (home / "tokens.csv").write_text("".join(rows))
    (home / "sa.key").write_bytes(_account_key())
    (home / "clients.crt").write_text(clients.certificate)
    try:
        _start(plane, store, peer, _reviewed(home, reviewer))
        yield plane
    finally:
        plane.stop()


def _reviewed(home: Path, reviewer: dict[str, Any] | None) -> tuple[str, ...]:
    if reviewer is None:
        return ()
    config = home / "reviewer.json"
    config.write_text(json.dumps(reviewer))
    return (
        f"--authentication-token-webhook-config-file={config}",
        "--authentication-token-webhook-version=v1",
    )


def _start(plane: Plane, store: int, peer: int, options: tuple[str, ...]) -> None:
    client, other = f"http://127.0.0.1:{store}", f"http://127.0.0.1:{peer}"
    plane.spawn(
        "etcd",
        f"--data-dir={plane.home / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={other}",
        f"--initial-advertise-peer-urls={other}",
        f"--initial-cluster=default={other}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    key = plane.home / "sa.key"
    plane.spawn(
        "kube-apiserver",
        f"--etcd-servers={client}",
        f"--secure-port={plane.port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--cert-dir={plane.home / 'pki'}",
        "--service-cluster-ip-range=172.20.0.0/16",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--token-auth-file={plane.home / 'tokens.csv'}",
        f"--client-ca-file={plane.home / 'clients.crt'}",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--endpoint-reconciler-type=none",
        "--profiling=false",
        *options,
    )
    _wait(plane)
    _start_controllers(plane, key)


def _start_controllers(plane: Plane, key: Path) -> None:
    config = plane.home / "controllers.json"
    config.write_text(json.dumps(_kubeconfig(plane, CONTROLLERS_USER)))
    plane.spawn(
        "kube-controller-manager",
        f"--kubeconfig={config}",
        "--leader-elect=false",
        f"--service-account-private-key-file={key}",
        f"--root-ca-file={plane.home / 'pki' / 'apiserver.crt'}",
        "--use-service-account-credentials=true",
        "--secure-port=0",
        f"--controllers={CONTROLLERS}",
        # Seconds where a cluster of the cloud's takes most of a minute; what then happens is the same.
        "--node-monitor-period=1s",
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        "--pvclaimbinder-sync-period=1s",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    )
    config = plane.home / "scheduler.json"
    config.write_text(json.dumps(_kubeconfig(plane, SCHEDULER_USER)))
    plane.spawn(
        "kube-scheduler",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    )


def _wait(plane: Plane) -> None:
    ends = time.monotonic() + START_SECONDS
    certificate = plane.home / "pki" / "apiserver.crt"
    while not (certificate.exists() and plane.ready()):
        assert time.monotonic() < ends, "the API server does not start"
        time.sleep(0.05)


def _kubeconfig(plane: Plane, user: str) -> dict[str, Any]:
    server = {"server": plane.url, "certificate-authority": str(plane.home / "pki" / "apiserver.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "plane", "cluster": server}],
        "users": [{"name": user, "user": {"token": plane.tokens[user]}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": user}}],
        "current-context": "plane",
    }


def _account_key() -> bytes:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
