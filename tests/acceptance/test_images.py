"""An image's build without a container engine: the same steps, then its files and its processes.

The processes run as the image's user, first of their own process namespace, with a root that cannot be
written: what `docker run --read-only` gives them.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from byoc.testing.instance import free_port
from tests.architecture import closure
from tests.architecture.containerfile import stages

ROOT = Path(__file__).parents[2]
CONFINED = Path(__file__).with_name("confined.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = 10001
ENTRIES = {"agent": closure.AGENT, "controlplane": closure.CONTROL_PLANE}


@dataclass
class Image:
    """What stands at `/opt/byoc` in the image of a role."""

    role: str
    folder: Path

    def command(self, *argv: str) -> list[str]:
        """Return the command line that runs ``argv`` in the image."""
        root = self.folder.parent / "root"
        root.mkdir(exist_ok=True)
        confined = ["/bin/sh", str(CONFINED), str(root), str(self.folder), sys.base_prefix]
        environment = [
            "env",
            "-i",
            f"PATH={self.folder}/bin:/usr/bin:/bin",
            "HOME=/tmp",
            "PYTHONUNBUFFERED=1",
        ]
        own = ["--mount", "--pid", "--fork", "--kill-child"]
        if os.getuid() == 0:
            user = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--clear-groups"]
            become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", *user]
        else:
            own += ["--user", "--map-root-user"]
            become = ["unshare", "--user", f"--map-user={USER}", f"--map-group={USER}"]
        return ["unshare", *own, *confined, *become, *environment, *argv]

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` in the image to its end."""
        command = self.command(*argv)
        return subprocess.run(
            command, env={"PATH": PATH}, capture_output=True, text=True, check=False, timeout=60
        )

    def python(self, code: str) -> str:
        """Run ``code`` in the image; return what it printed."""
        ended = self.run("python", "-c", code)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @property
    def files(self) -> list[Path]:
        """Everything in it."""
        return sorted(self.folder.rglob("*"))


@pytest.fixture(scope="module", params=ENTRIES)
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    """The image's folder, made by the script that its Containerfile runs."""
    parent = Path(tempfile.mkdtemp(prefix="byoc-image-"))
    # As a builder's root: others may enter.
    parent.chmod(0o755)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment = {"PATH": PATH, "HOME": str(parent), "XDG_CACHE_HOME": cache, "PYTHON": sys.executable}
    made = Image(request.param, parent / "image")
    try:
        install = [str(ROOT / "images" / "install"), made.role, str(made.folder)]
        ended = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        yield made
    finally:
        shutil.rmtree(parent)


def test_an_image_holds_no_other_program_than_byoc_and_its_python(image: Image) -> None:
    names = {each.name for each in (image.folder / "bin").iterdir()}
    assert names == {"byoc", "python", "python3", f"python3.{sys.version_info.minor}"}


def test_an_image_holds_no_tests_no_pulumi_no_installer_and_no_build_tools(image: Image) -> None:
    (site,) = image.folder.glob("lib/python3.*/site-packages")
    packages = {each.name.lower().split("-")[0] for each in site.iterdir()}
    assert {"byoc", "byoc_cli", "cryptography", "nimbus_byoc"} <= packages
    banned = {
        "pulumi",
        "pulumi_aws",
        "pulumi_kubernetes",
        "pip",
        "setuptools",
        "hatchling",
    }
    assert not packages & (banned | {"tests", "moto", "pytest", "grpc", "stacks", "cli"})
    inside = {each.name for each in image.files if each.is_dir()}
    assert not inside & {
        "tests",
        "test",
        "testing",
        ".git",
        ".cache",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
    }


def test_an_image_is_root_s_and_nobody_else_can_write_it(image: Image) -> None:
    modes = {each: each.lstat() for each in image.files if not each.is_symlink()}
    others = stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID
    assert [each for each, known in modes.items() if known.st_mode & others] == []
    assert [each for each, known in modes.items() if not known.st_mode & stat.S_IROTH] == []
    assert [
        each for each in image.files if each.is_symlink() and each.parent.name not in {"bin", "image"}
    ] == []


def test_an_image_does_not_say_where_it_was_built(image: Image) -> None:
    named = [each for each in image.files if each.name in {"direct_url.json", "REQUESTED"}]
    assert [each for each in named if each.name == "direct_url.json"] == []
    clone = str(ROOT).encode()
    texts = [each for each in image.files if each.is_file() and each.suffix in {".py", ".json", ".txt", ""}]
    assert [each for each in texts if each.name != "pyvenv.cfg" and clone in each.read_bytes()] == []


def test_all_that_a_process_can_import_is_in_its_image_and_compiled(image: Image) -> None:
    # A migration's environment is run by its library and by nobody else.
    found = closure.reachable(ENTRIES[image.role])[0] - {"byoc.store.migrations.env"}
    modules = sorted(found | {"byoc_cli.main"})
    code = (
        f"import importlib, json, sys; [importlib.import_module(each) for each in {modules!r}];"
        "print(json.dumps([m.__cached__ for m in sys.modules.values() if getattr(m, '__cached__', None)]))"
    )
    compiled = [Path(each) for each in json.loads(image.python(code)) if each.startswith(str(image.folder))]
    assert len(compiled) > len(modules)
    assert [each for each in compiled if not each.exists()] == []


def test_a_process_is_nobody_and_writes_only_where_something_is_mounted(image: Image) -> None:
    code = (
        "import os, json, pathlib\n"
        "def writes(folder):\n"
        "    try: (pathlib.Path(folder) / 'x').write_text('')\n"
        "    except OSError: return False\n"
        "    return True\n"
        f"places = ['/', '/usr', '/etc', '{image.folder}', '/tmp', '/var/lib/byoc']\n"
        "print(json.dumps([os.getuid(), os.getgid(), os.getpid(), [p for p in places if writes(p)]]))"
    )
    assert json.loads(image.python(code)) == [USER, USER, 1, ["/tmp", "/var/lib/byoc"]]  # noqa: S108 - the image's


def test_the_commands_of_an_image_start(image: Image) -> None:
    commands = {
        "agent": [("agent", "run")],
        "controlplane": [("controlplane", "serve"), ("controlplane", "init"), ("gateway", "serve")],
    }
    for command in commands[image.role]:
        ended = image.run("byoc", *command, "--help")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f"byoc {' '.join(command)}" in ended.stdout
        assert "--data" in ended.stdout


@pytest.mark.parametrize("image", ["controlplane"], indirect=True)
def test_the_control_planes_image_serves_is_healthy_and_stops_when_asked(image: Image) -> None:
    last = stages(ROOT / "images" / "controlplane" / "Containerfile")[-1]
    port = str(free_port())
    serve = " ".join([*last.argv("ENTRYPOINT"), *last.argv("CMD")]).replace("8787", port)
    init = "byoc controlplane init --data /var/lib/byoc"
    serving = subprocess.Popen(
        image.command("sh", "-c", f"{init} && exec {serve}"),
        env={"PATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    check = json.loads(last.the("HEALTHCHECK").partition(" CMD ")[2].replace("8787", port))
    try:
        _wait_until_served(port, serving)
        healthy = subprocess.run([str(image.folder / "bin" / check[0]), *check[1:]], env={}, check=False)
        assert healthy.returncode == 0
        (first,) = psutil.Process(serving.pid).children()
        first.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0
    finally:
        serving.kill()
        serving.communicate()
    unhealthy = subprocess.run(
        [str(image.folder / "bin" / check[0]), *check[1:]], env={}, capture_output=True, check=False
    )
    assert unhealthy.returncode != 0


@pytest.mark.parametrize("image", ["agent"], indirect=True)
def test_the_agents_image_says_what_it_lacks_and_not_where_it_broke(image: Image) -> None:
    last = stages(ROOT / "images" / "agent" / "Containerfile")[-1]
    ended = image.run(*last.argv("ENTRYPOINT"), *last.argv("CMD"))
    assert ended.returncode not in {0, 1}
    assert "hint:" in ended.stderr
    assert "Traceback" not in ended.stderr


def _wait_until_served(port: str, serving: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert serving.poll() is None
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    pytest.fail("it does not serve")
