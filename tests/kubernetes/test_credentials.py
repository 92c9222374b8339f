"""Kubeconfigs whose user is a program that says who we are, against a real API server and its own word."""

import base64
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from byoc.cell.installer.api import Api
from byoc.clock import stamp
from byoc.dataplane.kubernetes.credentials import find
from byoc.dataplane.kubernetes.kubeconfig import Way, open_context
from byoc.errors import ByocError, NotAuthenticated, PreconditionFailed
from byoc.testing import ManualClock
from tests.kubernetes.conftest import AGENT_USER, _budget
from tests.kubernetes.plane import Plane

ROOT = Path(__file__).parents[2]
V1, V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
QUESTION = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
PROGRAM = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path({folder!r})
seen = here / "seen"
told = {{"argv": sys.argv[1:], "own": os.environ.get("OWN"), "terminal": sys.stdin.isatty(),
        "info": json.loads(os.environ["KUBERNETES_EXEC_INFO"])}}
with seen.open("a") as file:
    file.write(json.dumps(told) + "\\n")
answers = sorted((here / "answers").iterdir())
said = json.loads(answers[min(len(seen.read_text().splitlines()), len(answers)) - 1].read_text())
sys.stderr.write(said["err"])
sys.stdout.write(said["out"])
sys.exit(said["code"])
"""


@dataclass
class Program:
    """A program that answers from files, one after the other, and keeps what it was told."""

    folder: Path
    plane: Plane
    environment: dict[str, str]

    def answers(self, *texts: str, err: str = "", code: int = 0) -> None:
        for number, text in enumerate(texts):
            said = {"out": text, "err": err, "code": code}
            (self.folder / "answers" / f"{number}").write_text(json.dumps(said))

    @property
    def seen(self) -> list[dict[str, Any]]:
        file = self.folder / "seen"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def config(self, **asked: Any) -> None:
        """Write the kubeconfig."""
        whole = self.plane.kubeconfig("admin")
        said = {"apiVersion": V1BETA1, "command": "tell-who", "args": ["eks", "get-token"], **asked}
        whole["users"] = [{"name": "admin", "user": {"exec": said}}]
        Path(self.environment["KUBECONFIG"]).write_text(json.dumps(whole))

    def way(self, clock: ManualClock | None = None, *, terminal: bool = False) -> Way:
        now = (clock or ManualClock()).now
        return open_context("plane", self.environment, terminal=terminal, now=now)

    def who(self, way: Way) -> str:
        """The user name that the API server sees."""
        api = Api(way.server, "", way.token, _budget(20), tls=way.tls, refused=way.refused)
        with closing(api):
            return name_of(api)

    def byoc(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "byoc", *words],
            cwd=ROOT,
            env={**self.environment, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )


def name_of(api: Api) -> str:
    return str(api.ask(WHO, QUESTION)["status"]["userInfo"]["username"])


def credential(version: str = V1BETA1, **status: str) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


@pytest.fixture
def program(plane: Plane, tmp_path: Path) -> Program:
    binaries = tmp_path / "bin"
    for folder in (binaries, tmp_path / "answers", tmp_path / "home"):
        folder.mkdir()
    file = binaries / "tell-who"
    file.write_text(PROGRAM.format(python=sys.executable, folder=str(tmp_path)))
    file.chmod(0o755)
    environment = {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
    }
    return Program(tmp_path, plane, environment)


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_the_cluster_sees_whom_the_program_names(program: Program, plane: Plane, version: str) -> None:
    program.config(
        apiVersion=version,
        interactiveMode="IfAvailable",
        env=[{"name": "OWN", "value": "from the kubeconfig"}],
    )
    program.answers(credential(version, token=plane.tokens[AGENT_USER]))
    way = program.way()
    assert [program.who(way), program.who(way)] == [AGENT_USER] * 2
    (told,) = program.seen
    assert told == {
        "argv": ["eks", "get-token"],
        "own": "from the kubeconfig",
        "info": {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}},
        "terminal": False,
    }


def test_a_certificate_says_it_too_and_is_followed_by_another(
    program: Program, plane: Plane, clock: ManualClock
) -> None:
    until = stamp(clock.now() + timedelta(minutes=1))
    pairs = [plane.clients.issue(name, "system:masters") for name in ("first", "second")]
    program.config()
    program.answers(
        *(
            credential(clientCertificateData=certificate, clientKeyData=key, expirationTimestamp=until)
            for certificate, key in pairs
        )
    )
    way = program.way(clock)
    assert [program.who(way), program.who(way)] == ["first", "first"]
    clock.advance(61)
    assert program.who(way) == "second"


def test_a_token_that_expired_is_asked_for_anew_in_the_midst_of_a_command(
    program: Program, plane: Plane, clock: ManualClock
) -> None:
    program.config()
    soon, later = (stamp(clock.now() + timedelta(minutes=each)) for each in (14, 60))
    program.answers(
        credential(token=plane.tokens["admin"], expirationTimestamp=soon),
        credential(token=plane.tokens[AGENT_USER], expirationTimestamp=later),
    )
    way = program.way(clock)
    with closing(Api(way.server, "", way.token, _budget(20), tls=way.tls, refused=way.refused)) as api:
        names = [name_of(api), name_of(api)]
        clock.advance(14 * 60)
        names += [name_of(api), name_of(api)]
    assert names == ["admin", "admin", AGENT_USER, AGENT_USER]
    assert len(program.seen) == 2


def test_a_token_that_the_cluster_does_not_know_is_asked_for_anew(program: Program, plane: Plane) -> None:
    program.config()
    program.answers(credential(token="of-yesterday"), credential(token=plane.tokens["admin"]))
    assert program.who(program.way()) == "admin"


def test_a_program_that_asks_is_told_of_the_cluster(program: Program, plane: Plane) -> None:
    program.config(provideClusterInfo=True)
    whole = json.loads((program.folder / "kubeconfig").read_text())
    kept = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "byoc"}}
    whole["clusters"][0]["cluster"]["extensions"] = [kept]
    (program.folder / "kubeconfig").write_text(json.dumps(whole))
    program.answers(credential(token=plane.tokens["admin"]))
    program.way().token()
    (told,) = program.seen
    assert told["info"]["spec"]["cluster"] == {
        "server": plane.url,
        "certificate-authority-data": base64.b64encode(plane.authority.encode()).decode(),
        "config": {"audience": "byoc"},
    }


@pytest.mark.parametrize("command", ["./bin/tell-who", "bin/tell-who"])
def test_a_command_with_a_slash_lies_beside_the_kubeconfig(
    program: Program, plane: Plane, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    program.environment["PATH"] = "/usr/bin:/bin"
    program.config(command=command)
    program.answers(credential(token=plane.tokens["admin"]))
    assert program.who(program.way()) == "admin"


def test_a_command_without_one_is_never_taken_from_the_folder_one_is_in(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.folder / "bin")
    program.environment["PATH"] = "/usr/bin:/bin"
    program.config()
    with pytest.raises(PreconditionFailed, match="not installed"):
        program.way()


@pytest.mark.parametrize(("mode", "asked"), [("Never", False), ("IfAvailable", True), ("Always", True)])
def test_a_person_is_asked_on_a_terminal_where_the_kubeconfig_lets_the_program(
    program: Program, plane: Plane, mode: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.config(apiVersion=V1, interactiveMode=mode)
    program.answers(credential(V1, token=plane.tokens["admin"]))
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs) as terminal, as_input(terminal.fileno()):
        program.way(terminal=True).token()
    (told,) = program.seen
    assert (told["info"]["spec"]["interactive"], told["terminal"]) == (asked, asked)


@contextmanager
def as_input(descriptor: int) -> Iterator[None]:
    """Let this process's input be ``descriptor`` for a while: programs that it starts inherit it."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


SECRET = "k8s-aws-v1.do-not-show"
BEFORE: Mapping[str, tuple[dict[str, Any], str]] = {
    "not installed": (
        {"command": "gke-tell", "installHint": "apt install\nthat"}, "`gke-tell`, which is not installed",
    ),
    "of an older interface": ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1, not"),
    "of no interface": ({"apiVersion": ""}, "no version"),
    "no word on terminals": ({"apiVersion": V1}, "`interactiveMode` of its program is neither"),
    "asks a person": ({"apiVersion": V1, "interactiveMode": "Always"}, "there is no terminal"),
    "no list of arguments": ({"args": 7}, "is no kubeconfig that can be read"),
    "variables without names": ({"env": [{"value": SECRET}]}, "is no kubeconfig that can be read"),
}  # fmt: skip


@pytest.mark.parametrize("why", BEFORE)
def test_what_cannot_work_is_said_before_the_cluster_is_asked(program: Program, why: str) -> None:
    asked, said = BEFORE[why]
    program.config(**asked)
    with pytest.raises(PreconditionFailed, match=said) as caught:
        program.way()
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"
    assert program.seen == []


ANSWERS: Mapping[str, tuple[str, str]] = {
    "nothing": ("", "is no ExecCredential"),
    "noise": (f"token: {SECRET}", "is no ExecCredential"),
    "a list": ("[]", "is no ExecCredential"),
    "another kind": (
        json.dumps({"kind": "Secret", "apiVersion": "v1", "status": {"token": SECRET}}),
        "is no",
    ),
    "another version": (credential(V1, token=SECRET), f"is no ExecCredential of {V1BETA1}"),
    "no status": (json.dumps({"apiVersion": V1BETA1, "kind": "ExecCredential"}), "is no ExecCredential"),
    "neither": (credential(), "neither a token nor a certificate"),
    "a number": (credential(token=7), "is no ExecCredential"),  # type: ignore[arg-type]
    "half a pair": (credential(clientKeyData=SECRET), "a key alone"),
    "no certificate": (credential(clientCertificateData=SECRET, clientKeyData=SECRET), "cannot be read"),
    "no time": (credential(token=SECRET, expirationTimestamp="soon"), "is no ExecCredential"),
    "two lines": (credential(token=f"{SECRET}\nHost: elsewhere"), "characters that no token has"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_cannot_be_used_is_said_and_not_repeated(program: Program, what: str) -> None:
    answer, said = ANSWERS[what]
    program.config()
    program.answers(answer)
    with pytest.raises(NotAuthenticated, match=said) as caught:
        program.way().token()
    assert SECRET not in whole(caught.value)


def whole(error: BaseException | None) -> str:
    """All that a traceback would say of an error, and of what it came from."""
    said = ""
    while error is not None:
        hint = error.hint if isinstance(error, ByocError) else ""
        said += f"{error!r}{error}{hint}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


COMMANDS = (
    ("cell", "destroy", "demo", "--context", "plane", "--force", "--confirm", "demo"),
    ("cell", "renew-ca", "--context", "plane"),
    ("policy", "show", "--context", "plane"),
    ("access", "status", "--context", "plane"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(words[:2]) for words in COMMANDS])
def test_each_command_says_in_one_sentence_that_nobody_could_tell_who_asks(
    program: Program, command: tuple[str, ...]
) -> None:
    program.config()
    failed = f"Error loading SSO Token: eyJhbGciOiJIUzI1NiJ9.{'a' * 20}.{'b' * 20} has expired\n"
    program.answers(SECRET, err=failed, code=255)
    ended = program.byoc(*command)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 3, said
    assert "context `plane`: `tell-who` does not say who you are: Error loading SSO Token: [redacted]" in said
    assert "kubectl --context plane version" in said
    assert "Traceback" not in said
    assert SECRET not in said
    assert "eyJ" not in said


def test_an_installation_without_its_program_says_so_before_anything_else(program: Program) -> None:
    program.config(command="aws-of-nobody", installHint="https://provider.example/cli")
    ended = program.byoc("cell", "install", "demo", "--context", "plane", "--gateway", "wss://g.example")
    said = ended.stdout + ended.stderr
    assert ended.returncode == PreconditionFailed.exit_code, said
    assert "`aws-of-nobody`, which is not installed" in said
    assert "https://provider.example/cli" in said


def test_a_command_goes_through_with_what_the_program_says(program: Program, plane: Plane) -> None:
    program.config()
    program.answers(credential(token=plane.tokens["admin"]))
    ended = program.byoc("policy", "show", "--context", "plane")
    assert len(program.seen) == 1
    assert ended.returncode == 0, ended.stderr
    assert "in context plane" in ended.stderr


def test_a_program_beside_a_kubeconfig_in_the_current_folder_is_that_one_and_none_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("mine", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "login").touch(0o755)
    monkeypatch.chdir(tmp_path / "mine")
    asked = {"apiVersion": V1BETA1, "command": "./login"}
    environment = {"PATH": str(tmp_path / "path")}
    found = find("plane", asked, {}, Path(), environment, terminal=False)
    assert found.command == str(tmp_path / "mine/login")


@pytest.mark.parametrize("entry", ["", ".", "path"])
def test_a_program_that_only_a_relative_folder_of_path_has_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    (tmp_path / "path").mkdir()
    for folder in (tmp_path, tmp_path / "path"):
        (folder / "tell-who").touch(0o755)
    monkeypatch.chdir(tmp_path)
    asked = {"apiVersion": V1BETA1, "command": "tell-who"}
    with pytest.raises(PreconditionFailed, match=r"where you are|not installed"):
        find("plane", asked, {}, tmp_path, {"PATH": f"/nowhere:{entry}"}, terminal=False)
