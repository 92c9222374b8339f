"""Programs of a kubeconfig that say who we are, as ``aws eks get-token`` is: credential plugins.

Used by :mod:`byoc.dataplane.kubernetes.kubeconfig`. The invariants: what cannot work is refused before
anything is asked of the cluster; a program is run without a shell, the way ``kubectl`` runs it; what it
answered is kept in memory, until it expires or the cluster refuses it, and stands in no error.
"""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from byoc.clock import parse_stamp
from byoc.errors import NotAuthenticated, PreconditionFailed, UsageError
from byoc.log import redact_text

Json = Mapping[str, Any]

VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
"""Kinds of question and answer; the first one wants to be told about terminals."""
_KIND: Final = "ExecCredential"
_INFO: Final = "KUBERNETES_EXEC_INFO"
_CONFIG: Final = "client.authentication.k8s.io/exec"
"""Extension of a cluster in a kubeconfig that is for such programs."""
_OF_CLUSTER: Final = ("server", "tls-server-name", "certificate-authority-data", "proxy-url")
_SECONDS: Final = 60.0
_SECONDS_WITH_A_PERSON: Final = 600.0
_LONGEST: Final = 300
_USABLE: Final = re.compile(r"[\x21-\x7e]*")
"""What a header can carry."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a program has answered.

    Attributes:
        certificate, key: PEM; empty where the token says who we are.
        expires: None where it does not say.
    """

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plugin:
    """A program, as a kubeconfig asks for it.

    Attributes:
        command: with its whole path.
        name: as the kubeconfig has it.
        variables: of its environment, besides ours.
        interactive: whether it may ask a person on the terminal.
        cluster: what it is told of the cluster; None where it asked for nothing.
    """

    context: str
    command: str
    name: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    version: str
    interactive: bool
    cluster: Json | None


def find(
    context: str, asked: Json, cluster: Json, folder: Path, environment: Mapping[str, str], *, terminal: bool
) -> Plugin:
    """Return the program that ``asked``, the ``exec`` of a user in a kubeconfig, is about.

    ``folder``: of the kubeconfig; ``terminal``: whether there is one on which a person can be asked.

    Raises:
        PreconditionFailed: it is not installed, or asks for what is not to be had here.
    """
    name, version = str(asked.get("command") or ""), str(asked.get("apiVersion") or "")
    if version not in VERSIONS:
        raise PreconditionFailed(
            f"context `{context}`: its program speaks {version or 'no version'}, not {' or '.join(VERSIONS)}",
            hint="have your provider's newer tool write the kubeconfig anew, as `aws eks update-kubeconfig`",
        )
    told = cluster if asked.get("provideClusterInfo") else None
    return Plugin(
        context=context,
        command=_whole_path(context, name, asked, folder, environment),
        name=name,
        arguments=tuple(str(each) for each in asked.get("args") or ()),
        variables={str(each["name"]): str(each["value"]) for each in asked.get("env") or ()},
        version=version,
        interactive=_may_ask(context, asked, version, terminal=terminal),
        cluster=told if told is None else _about(told, folder),
    )


def _whole_path(context: str, name: str, asked: Json, folder: Path, environment: Mapping[str, str]) -> str:
    """Return where the program is: beside the kubeconfig if its name has a slash, else on PATH."""
    # Absolute, or a name with a slash would lose it and be looked for on PATH.
    beside = str(folder.absolute() / name) if os.sep in name else name
    found = shutil.which(beside, path=environment.get("PATH")) if name else None
    if found is None:
        hint = " ".join(str(asked.get("installHint") or "install it, or take another context").split())
        raise PreconditionFailed(
            f"context `{context}` says who you are by the program `{name}`, which is not installed", hint=hint
        )
    if not Path(found).is_absolute():
        raise PreconditionFailed(
            f"context `{context}`: the program `{name}` is found only in the folder where you are",
            hint="take empty and relative folders out of PATH, or write its whole path into the kubeconfig",
        )
    return found


def _may_ask(context: str, asked: Json, version: str, *, terminal: bool) -> bool:
    # The older version of the interface has a default, the newer one has none.
    mode = asked.get("interactiveMode") or ("IfAvailable" if version != VERSIONS[0] else "")
    if mode not in {"Never", "IfAvailable", "Always"}:
        raise PreconditionFailed(
            f"context `{context}`: `interactiveMode` of its program is neither Never, IfAvailable nor Always",
            hint="add it to `exec` of this user in the kubeconfig",
        )
    if mode == "Always" and not terminal:
        raise PreconditionFailed(
            f"context `{context}`: its program asks a person, and there is no terminal",
            hint="run the command on a terminal, or take another context",
        )
    return terminal and mode != "Never"


def _about(cluster: Json, folder: Path) -> Json:
    """Return a cluster the way programs are told of it."""
    told = {name: cluster[name] for name in _OF_CLUSTER if cluster.get(name)}
    file = cluster.get("certificate-authority")
    if file and "certificate-authority-data" not in told:
        told["certificate-authority-data"] = base64.b64encode((folder / str(file)).read_bytes()).decode()
    for each in cluster.get("extensions") or ():
        if each.get("name") == _CONFIG:
            told["config"] = each.get("extension")
    return told


def run(plugin: Plugin, environment: Mapping[str, str]) -> Credential:
    """Run a program and return its answer.

    Raises:
        NotAuthenticated: it has none, or one that cannot be used.
        PreconditionFailed: it cannot be run.
    """
    spec = {"interactive": plugin.interactive} | ({"cluster": plugin.cluster} if plugin.cluster else {})
    info = json.dumps({"apiVersion": plugin.version, "kind": _KIND, "spec": spec})
    try:
        ended = subprocess.run(
            [plugin.command, *plugin.arguments],
            env={**environment, **plugin.variables, _INFO: info},
            stdin=None if plugin.interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A person who is asked has to see the question.
            stderr=None if plugin.interactive else subprocess.PIPE,
            timeout=_SECONDS_WITH_A_PERSON if plugin.interactive else _SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        what = "does not end" if isinstance(error, subprocess.TimeoutExpired) else "cannot be run"
        raise PreconditionFailed(
            f"context `{plugin.context}`: `{plugin.name}` {what}",
            hint="run it by hand as the kubeconfig does, or take another context",
        ) from None
    if ended.returncode:
        said = (ended.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        raise _refused(plugin, redact_text(said[-1])[:_LONGEST] if said else "it gave no reason")
    return read(plugin, ended.stdout)


def read(plugin: Plugin, answer: bytes) -> Credential:
    """Return what an answer says.

    Raises:
        NotAuthenticated: it cannot be used; no word of it is repeated.
    """
    try:
        value = json.loads(answer)
        if (value["kind"], value["apiVersion"]) != (_KIND, plugin.version):
            raise _refused(plugin, f"its answer is no {_KIND} of {plugin.version}")
        status = value["status"]
        names = ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        token, certificate, key, expires = (_text(status.get(name)) for name in names)
        credential = Credential(token, certificate, key, parse_stamp(expires) if expires else None)
    except (ValueError, KeyError, TypeError, AttributeError, UsageError):
        raise _refused(plugin, f"its answer is no {_KIND}") from None
    if bool(certificate) != bool(key):
        raise _refused(plugin, "its answer has a certificate without its key, or a key alone")
    if not token and not certificate:
        raise _refused(plugin, "its answer has neither a token nor a certificate")
    if not _USABLE.fullmatch(token):
        raise _refused(plugin, "the token in its answer has characters that no token has")
    return credential


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def _refused(plugin: Plugin, why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"context `{plugin.context}`: `{plugin.name}` does not say who you are: {why}",
        hint=f"log in anew with it; `kubectl --context {plugin.context} version` runs it too",
    )


class Credentials:
    """What a program answers, asked once and again when that has expired or was refused.

    Args:
        present: takes a new certificate and its key into use.
    """

    def __init__(
        self,
        plugin: Plugin,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
        present: Callable[[str, str], None],
    ) -> None:
        self._plugin = plugin
        self._environment = environment
        self._now = now
        self._present = present
        self._held: Credential | None = None

    def token(self) -> str:
        """Return a token; an empty one where a certificate says who we are."""
        held = self._held
        if held is None or (held.expires is not None and held.expires <= self._now()):
            held = run(self._plugin, self._environment)
            if held.certificate:
                self._show(held)
            self._held = held
        return held.token

    def _show(self, credential: Credential) -> None:
        try:
            self._present(credential.certificate, credential.key)
        except (OSError, ValueError):
            raise _refused(self._plugin, "its certificate and key cannot be read") from None

    def refused(self) -> None:
        """The cluster did not take it: ask anew next time."""
        self._held = None
