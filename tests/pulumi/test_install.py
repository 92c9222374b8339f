"""Getting the engine by Pulumi's own installer, of which only the download is replaced."""

import shutil
import urllib.error
from pathlib import Path

import pytest
from pulumi.automation import _cmd

from byoc.bootstrap.engine.find import Pulumi, find, install, own
from byoc.errors import Failed, Unreachable

INSTALLER = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in --install-root) root=$2; shift ;; --version) version=$2; shift ;; esac
    shift
done
[ "$version" = 3.259.0 ] || exit 3
mkdir -p "$root/bin" && ln -s {engine} "$root/bin/pulumi"
"""
NOTHING_ON_PATH = {"PATH": ""}


def serve(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(_cmd, "_download_to_file", lambda _url, path: Path(path).write_text(script))


def test_the_tested_version_is_installed_into_our_folder_and_found_there(
    engine: Pulumi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, INSTALLER.format(engine=engine.path))
    made = install(tmp_path, NOTHING_ON_PATH)
    assert (made.path, made.text) == (own(tmp_path), "3.259.0")
    assert find(tmp_path, NOTHING_ON_PATH) == made
    serve(monkeypatch, "#!/bin/sh\nexit 1\n")
    assert install(tmp_path, NOTHING_ON_PATH) == made, "what is there is not got again"


def test_the_users_own_installation_is_used_and_left_as_it_is(engine: Pulumi, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(engine.path, theirs / "pulumi")
    found = find(tmp_path / "data", {"PATH": str(theirs)})
    assert found.path == theirs / "pulumi"
    assert [path.name for path in theirs.iterdir()] == ["pulumi"]


def test_no_network_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_url: str, _path: str) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(_cmd, "_download_to_file", offline)
    with pytest.raises(Unreachable, match=r"cannot download pulumi 3\.259\.0: no route to host"):
        install(tmp_path, NOTHING_ON_PATH)
    assert not own(tmp_path).parent.parent.exists()


def test_an_installer_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, '#!/bin/sh\nmkdir -p "$3/bin"; echo half > "$3/bin/pulumi"; exit 1\n')
    with pytest.raises(Failed, match="installer failed"):
        install(tmp_path, NOTHING_ON_PATH)
    assert not own(tmp_path).parent.parent.exists()
