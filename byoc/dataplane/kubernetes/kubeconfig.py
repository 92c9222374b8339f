"""A context of a person's kubeconfig: where the cluster is, whom to trust, and how to say who we are.

Used by the commands that act on a cluster with the customer's own credentials (``--context``). The
invariants: a server whose certificate nobody can check is refused; so is a user who cannot say who they are,
before the cluster is asked for anything; tokens stay in memory.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from lightkube import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from byoc.clock import SystemClock
from byoc.dataplane.kubernetes.credentials import Credentials, find
from byoc.errors import NotFound, PreconditionFailed

_NOW: Final = SystemClock().now
_LEFT_KUBERNETES: Final = ("auth-provider", "username")
"""Ways to say who one is that no cluster takes any more."""


class _Read(KubeConfig):
    """A kubeconfig, with what the library does not take in of it."""

    whole: Mapping[str, Any]

    @classmethod
    def from_dict(cls, conf: dict[str, Any], fname: Any = None) -> "_Read":
        made = cast("_Read", super().from_dict(conf, fname))
        made.whole = conf
        return made

    def of(self, kind: str, name: str | None) -> Mapping[str, Any]:
        """Return what stands under ``name`` in the list of all of ``kind``."""
        rows = self.whole.get(f"{kind}s") or ()
        return next((each.get(kind) or {} for each in rows if each.get("name") == name), {})


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach one cluster as one user.

    Attributes:
        server: ``https://`` address of its API.
        tls: whom to trust, and the client's certificate if it has one.
        token: makes the bearer token; an empty one means that the certificate says who we are.
        refused: to be called where the cluster does not know who we are: what was made is made anew.
    """

    context: str
    server: str
    tls: ssl.SSLContext
    token: Callable[[], str]
    refused: Callable[[], None] = lambda: None


def open_context(
    name: str,
    environment: Mapping[str, str],
    *,
    home: Path | None = None,
    terminal: bool = False,
    now: Callable[[], datetime] = _NOW,
) -> Way:
    """Return the way of the context ``name``.

    ``terminal``: whether there is one on which a program may ask a person who they are.

    Raises:
        NotFound: no kubeconfig has such a context; those that there are, are named.
        PreconditionFailed: it cannot be used: no authority to check the server by, a file or a program is
            missing.
    """
    known: list[str] = []
    for path in _files(environment, home or Path.home()):
        config = _read(path)
        known += config.contexts
        if name in config.contexts:
            found = _found(config, name)
            if found is not None:
                return _Opening(name, config, found, environment, terminal, now).way()
    raise NotFound(
        f"there is no context `{name}`", hint=f"known: {', '.join(sorted(known)) or 'none; set KUBECONFIG'}"
    )


def _files(environment: Mapping[str, str], home: Path) -> list[Path]:
    named = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    return [each for each in named or [home / ".kube" / "config"] if each.is_file()]


def _read(path: Path) -> _Read:
    try:
        return cast("_Read", _Read.from_file(path))
    except Exception as error:
        # Whatever its parsers raise.
        raise PreconditionFailed(f"{path} is no kubeconfig that can be read") from error


def _found(config: KubeConfig, name: str) -> SingleConfig | None:
    try:
        return config.get(context_name=name)
    except (ConfigError, KeyError) as error:
        raise PreconditionFailed(
            f"context `{name}` names a cluster or a user that its kubeconfig does not have"
        ) from error


@dataclass(frozen=True, slots=True)
class _Opening:
    """One context that is being opened."""

    name: str
    file: _Read
    found: SingleConfig
    environment: Mapping[str, str]
    terminal: bool
    now: Callable[[], datetime]

    def way(self) -> Way:
        server = self.found.cluster.server
        if not server.startswith("https://"):
            raise PreconditionFailed(f"context `{self.name}`: {server} is not an https:// address")
        if self.found.cluster.insecure:
            raise PreconditionFailed(
                f"context `{self.name}` does not check the server's certificate",
                hint="give the cluster's authority in the kubeconfig",
            )
        user = self.found.user or User()
        try:
            tls = _tls(self.found, user)
        except (OSError, ValueError) as error:
            raise PreconditionFailed(f"context `{self.name}`: a certificate cannot be read") from error
        asked = self.file.of("user", self.found.context.user)
        if asked.get("exec"):
            made = self._made_by_program(asked["exec"], tls)
            return Way(self.name, server, tls, made.token, made.refused)
        return Way(self.name, server, tls, self._given(user, asked))

    def _made_by_program(self, asked: Mapping[str, Any], tls: ssl.SSLContext) -> Credentials:
        folder = Path(self.found.abs_file("."))
        cluster = self.file.of("cluster", self.found.context.cluster)
        try:
            plugin = find(self.name, asked, cluster, folder, self.environment, terminal=self.terminal)
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise PreconditionFailed(
                f"context `{self.name}`: what its kubeconfig says of the program `exec` cannot be read"
            ) from error

        def present(certificate: str, key: str) -> None:
            _present(tls, certificate.encode(), key.encode())

        return Credentials(plugin, self.environment, self.now, present)

    def _given(self, user: User, asked: Mapping[str, Any]) -> Callable[[], str]:
        if user.token_file:
            return partial(self._in_file, Path(self.found.abs_file(user.token_file)))
        if not (user.token or user.client_cert or user.client_cert_data):
            left = [each for each in _LEFT_KUBERNETES if asked.get(each)]
            what = f"says who you are by `{left[0]}` only" if left else "does not say who you are"
            raise PreconditionFailed(
                f"context `{self.name}` {what}",
                hint="its user needs `exec`, `token`, `tokenFile` or `client-certificate`",
            )
        return lambda: user.token or ""

    def _in_file(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise PreconditionFailed(f"context `{self.name}`: the token in {path} cannot be read") from error


def _tls(config: SingleConfig, user: User) -> ssl.SSLContext:
    authority = _content(config, config.cluster.certificate_auth_data, config.cluster.certificate_auth)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    certificate = _content(config, user.client_cert_data, user.client_cert)
    key = _content(config, user.client_key_data, user.client_key)
    if certificate and key:
        _present(tls, certificate, key)
    return tls


def _content(config: SingleConfig, data: str | None, file: str | None) -> bytes | None:
    if data:
        return base64.b64decode(data)
    return Path(config.abs_file(file)).read_bytes() if file else None


def _present(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Show a certificate from the next connection on."""
    with ExitStack() as stack:
        # The library takes files only; they are gone again when this returns.
        files = [stack.enter_context(tempfile.NamedTemporaryFile()) for _ in range(2)]
        for file, content in zip(files, (certificate, key), strict=True):
            file.write(content)
            file.flush()
        tls.load_cert_chain(files[0].name, files[1].name)
