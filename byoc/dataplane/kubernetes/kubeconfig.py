"""A context of a person's kubeconfig: where the cluster is, whom to trust, and how to say who we are.

Used by the commands that act on a cluster with the customer's own credentials (``--context``). The
invariants: a server whose certificate nobody can check is refused; a program that makes tokens is run as
the kubeconfig names it, without a shell; tokens stay in memory.
"""

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lightkube import KubeConfig, SingleConfig
from lightkube.config.models import User, UserExec
from lightkube.core.exceptions import ConfigError

from byoc.errors import NotAuthenticated, NotFound, PreconditionFailed

_EXEC_SECONDS: Final = 60.0
_EXEC_INFO: Final = "KUBERNETES_EXEC_INFO"


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach one cluster as one user.

    Attributes:
        server: ``https://`` address of its API.
        tls: whom to trust, and the client's certificate if it has one.
        token: makes the bearer token; an empty one means that the certificate says who we are.
    """

    context: str
    server: str
    tls: ssl.SSLContext
    token: Callable[[], str]


def open_context(name: str, environment: Mapping[str, str], *, home: Path | None = None) -> Way:
    """Return the way of the context ``name``.

    Raises:
        NotFound: no kubeconfig has such a context; those that there are, are named.
        PreconditionFailed: it cannot be used: no authority to check the server by, or a file is missing.
    """
    known: list[str] = []
    for path in _files(environment, home or Path.home()):
        try:
            config = KubeConfig.from_file(path)
        except (ConfigError, OSError, ValueError) as error:
            raise PreconditionFailed(f"{path} is no kubeconfig that can be read") from error
        known += config.contexts
        if name in config.contexts:
            found = config.get(context_name=name)
            if found is not None:
                return _way(name, found, environment)
    raise NotFound(
        f"there is no context `{name}`", hint=f"known: {', '.join(sorted(known)) or 'none; set KUBECONFIG'}"
    )


def _files(environment: Mapping[str, str], home: Path) -> list[Path]:
    named = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    return [each for each in named or [home / ".kube" / "config"] if each.is_file()]


def _way(name: str, config: SingleConfig, environment: Mapping[str, str]) -> Way:
    server = config.cluster.server
    if not server.startswith("https://"):
        raise PreconditionFailed(f"context `{name}`: {server} is not an https:// address")
    if config.cluster.insecure:
        raise PreconditionFailed(
            f"context `{name}` does not check the server's certificate",
            hint="give the cluster's authority in the kubeconfig",
        )
    user = config.user or User()
    try:
        tls = _tls(config, user)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise PreconditionFailed(f"context `{name}`: a certificate cannot be read") from error
    return Way(name, server, tls, _tokens(name, config, user, environment))


def _tls(config: SingleConfig, user: User) -> ssl.SSLContext:
    authority = _content(config, config.cluster.certificate_auth_data, config.cluster.certificate_auth)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    certificate = _content(config, user.client_cert_data, user.client_cert)
    key = _content(config, user.client_key_data, user.client_key)
    if certificate and key:
        with ExitStack() as stack:
            # The library takes files only; they are gone again when this returns.
            files = [stack.enter_context(tempfile.NamedTemporaryFile()) for _ in range(2)]
            for file, content in zip(files, (certificate, key), strict=True):
                file.write(content)
                file.flush()
            tls.load_cert_chain(files[0].name, files[1].name)
    return tls


def _content(config: SingleConfig, data: str | None, file: str | None) -> bytes | None:
    if data:
        return base64.b64decode(data)
    return Path(config.abs_file(file)).read_bytes() if file else None


def _tokens(name: str, config: SingleConfig, user: User, environment: Mapping[str, str]) -> Callable[[], str]:
    if user.exec is not None:
        return _Program(name, user.exec, environment)
    if user.token_file:
        path = Path(config.abs_file(user.token_file))
        return lambda: path.read_text(encoding="utf-8").strip()
    return lambda: user.token or ""


class _Program:
    """A program that makes tokens, as ``aws eks get-token`` is; asked once, and again when told to."""

    def __init__(self, context: str, asked: UserExec, environment: Mapping[str, str]) -> None:
        self._context = context
        self._asked = asked
        self._environment = environment
        self._token = ""

    def __call__(self) -> str:
        """Return a token."""
        if not self._token:
            self._token = self._run()
        return self._token

    def _run(self) -> str:
        asked = self._asked
        own = {each.name: each.value for each in asked.env or []}
        info = {"apiVersion": asked.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
        try:
            ended = subprocess.run(
                [asked.command, *(asked.args or [])],
                env={**self._environment, **own, _EXEC_INFO: json.dumps(info)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_EXEC_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            hint = asked.installHint or "install it, or take another context"
            raise PreconditionFailed(
                f"context `{self._context}`: {asked.command} cannot be run", hint=hint
            ) from error
        if ended.returncode:
            said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
            raise NotAuthenticated(
                f"{asked.command} makes no token: {said[-1][:300] if said else 'no reason'}"
            )
        return _token_of(asked.command, ended.stdout)


def _token_of(command: str, answer: bytes) -> str:
    try:
        value: Any = json.loads(answer)
        token = value["status"]["token"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotAuthenticated(f"what {command} answers holds no token") from error
    return str(token)
