import json
import stat
from pathlib import Path
from typing import Any

import pytest

from byoc.errors import NotAuthenticated, NotFound, UsageError
from byoc_cli import profiles
from byoc_cli.connection import Running, choose
from byoc_cli.profiles import Config, Profile


def _log_in(byoc: Any, environment: dict[str, str], name: str = "work") -> None:
    environment.pop("BYOC_URL", None)
    environment.pop("BYOC_TOKEN", None)
    ended = byoc("login", "--url", "http://127.0.0.1:9", "--token", "-", "--name", name, stdin="secret\n")
    assert ended.code == 0


def test_login_saves_a_profile_that_only_its_owner_reads(byoc: Any, environment: Any, tmp_path: Path) -> None:
    _log_in(byoc, environment)
    path = tmp_path / ".config" / "byoc" / "config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["current"] == "work"


def test_the_profile_in_use_is_what_commands_talk_with(byoc: Any, plane: Any, environment: Any) -> None:
    _log_in(byoc, environment)
    told = byoc("whoami", "-o", "json").json
    assert told == {
        "userID": "u",
        "email": "ann@acme.test",
        "organization": "acme",
        "organizationID": "o",
        "url": "http://127.0.0.1:9",
        "source": "profile work",
    }
    assert plane.keys[-1] == "Bearer secret"


def test_a_key_that_does_not_work_is_not_saved(byoc: Any, plane: Any, tmp_path: Path) -> None:
    plane.errors["GET /byoc/v1/whoami"] = (401, "unauthorized", {})
    ended = byoc("login", "--token", "-", stdin="wrong\n")
    assert ended.code == 3
    assert "does not know this key" in ended.err
    assert "controlplane/owner.token" in ended.err
    assert not (tmp_path / ".config").exists()


@pytest.mark.parametrize("stdin", ["", "\n", "a\x00b\n", "schlüssel\n"])
def test_what_is_no_key_is_refused(byoc: Any, stdin: str) -> None:
    assert byoc("login", "--token", "-", stdin=stdin).code == 2


def test_a_key_is_never_an_argument(byoc: Any) -> None:
    ended = byoc("login", "--token", "abc")
    assert ended.code == 2
    assert "login --token -" in ended.err
    assert byoc("login").code == 2


def test_a_key_is_not_sent_to_another_machine_in_the_clear(byoc: Any, plane: Any) -> None:
    ended = byoc("login", "--url", "http://example.com", "--token", "-", stdin="k\n")
    assert ended.code == 2
    assert plane.asked == []


def test_profiles_are_listed_chosen_shown_and_removed_without_their_keys(byoc: Any, environment: Any) -> None:
    _log_in(byoc, environment, "one")
    _log_in(byoc, environment, "two")
    listed = byoc("profile", "list")
    assert listed.out == (
        "NAME  URL                 CURRENT\n"
        "one   http://127.0.0.1:9  no\n"
        "two   http://127.0.0.1:9  yes\n"
    )  # fmt: skip
    assert byoc("profile", "use", "one").code == 0
    assert byoc("profile", "show", "-o", "json").json["name"] == "one"
    assert byoc("profile", "remove", "one").code == 0
    assert byoc("profile", "list", "-o", "name").out == "two\n"
    assert byoc("profile", "show").code == 2
    assert "secret" not in byoc("profile", "list", "-o", "json").out
    assert byoc("profile", "use", "gone").code == 4


def test_logout_forgets_the_key_and_the_passwords(byoc: Any, environment: Any, tmp_path: Path) -> None:
    _log_in(byoc, environment)
    byoc("group", "create", "new")
    assert byoc("logout").code == 0
    kept = "".join(each.read_text() for each in (tmp_path / ".config" / "byoc").iterdir())
    assert "secret" not in kept
    assert "Secret-once-1" not in kept
    assert byoc("logout").code == 2


def test_a_damaged_file_is_said_not_overwritten(byoc: Any, environment: Any, tmp_path: Path) -> None:
    _log_in(byoc, environment)
    path = tmp_path / ".config" / "byoc" / "config.json"
    for damage in ("{", "[]", '{"profiles": {"x": 1}}'):
        path.write_text(damage)
        ended = byoc("cell", "list")
        assert ended.code == 1
        assert str(path) in ended.err
        assert path.read_text() == damage


def test_a_name_no_profile_may_have_is_refused(byoc: Any) -> None:
    assert byoc("login", "--name", "../x", "--token", "-", stdin="k\n").code == 2


def test_api_sends_any_request_and_prints_the_answer(byoc: Any, plane: Any) -> None:
    assert byoc("api", "get", "/v1/regions", "-o", "json").json == plane.regions
    byoc("api", "GET", "/v1/regions", "-f", "fields=region", "-f", "n=1")
    assert plane.asked[-1][1] == "/v1/regions?fields=region&n=1"
    byoc(
        "api",
        "POST",
        "/v1/workspaces",
        "-f",
        "name=x",
        "-f",
        "scaleFactor=2",
        "-f",
        "autoSuspend.suspendType=IDLE",
    )
    assert plane.asked[-1][2] == {"name": "x", "scaleFactor": 2, "autoSuspend": {"suspendType": "IDLE"}}
    assert byoc("api", "GET", "/byoc/v1/cells/nope").code == 4


INSTANCE = Running("http://127.0.0.1:1", Path("/data/one"), Path("/data/one/token"))
OTHER = Running("http://127.0.0.1:2", Path("/data/two"), Path("/data/two/token"))
CONFIG = Config("cur", {name: Profile(name, f"https://{name}", "k") for name in ("cur", "named", "flag")})
PAIR = {"BYOC_URL": "https://env", "BYOC_TOKEN": "t"}


@pytest.mark.parametrize(
    ("wanted", "environment", "config", "url"),
    [
        ("flag", PAIR | {"BYOC_PROFILE": "named"}, CONFIG, "https://flag"),
        (None, PAIR | {"BYOC_PROFILE": "named"}, CONFIG, "https://env"),
        (None, {"BYOC_PROFILE": "named"}, CONFIG, "https://named"),
        (None, {}, CONFIG, "https://cur"),
        (None, {}, Config(), "http://127.0.0.1:1"),
    ],
)
def test_the_order_of_choices(wanted: Any, environment: Any, config: Config, url: str) -> None:
    assert choose(wanted, environment, config, [INSTANCE]).url == url


@pytest.mark.parametrize("half", ["BYOC_URL", "BYOC_TOKEN"])
def test_half_a_pair_of_variables_is_a_question(half: str) -> None:
    with pytest.raises(UsageError, match="is not set"):
        choose(None, {half: "x"}, CONFIG, [])


def test_two_instances_are_a_question_that_names_both() -> None:
    with pytest.raises(UsageError, match=r"/data/one .* and /data/two "):
        choose(None, {}, Config(), [INSTANCE, OTHER])


def test_nothing_to_talk_to_is_an_error_that_says_how_to_begin() -> None:
    with pytest.raises(NotAuthenticated) as caught:
        choose(None, {}, Config(), [])
    assert "byoc up" in caught.value.hint
    with pytest.raises(NotFound):
        choose("gone", {}, Config(), [INSTANCE])


def test_the_key_of_the_only_instance_is_read_from_its_folder(
    byoc: Any, plane: Any, environment: Any, running: list[Running], tmp_path: Path
) -> None:
    for name in PAIR:
        del environment[name]
    token = tmp_path / "token"
    token.write_text("owner\n")
    running.append(Running("http://127.0.0.1:9", tmp_path, token))
    assert byoc("whoami", "-o", "json").json["source"] == f"instance {tmp_path}"
    assert plane.keys[-1] == "Bearer owner"
    token.unlink()
    assert byoc("whoami").code == 6


def test_a_password_is_found_whoever_saved_it(tmp_path: Path) -> None:
    profiles.save_password(tmp_path, "one", "g", "p")
    assert profiles.saved_password(tmp_path, "other", "g") == "p"
    profiles.save_password(tmp_path, "other", "g", "q")
    assert profiles.saved_password(tmp_path, "other", "g") == "q"
    profiles.forget_owner(tmp_path, "other")
    assert profiles.saved_password(tmp_path, "other", "g") == "p"
    profiles.forget_password(tmp_path, "g")
    assert profiles.saved_password(tmp_path, "one", "g") is None


def test_a_relative_config_folder_is_ignored() -> None:
    assert profiles.folder({"HOME": "/h", "XDG_CONFIG_HOME": "rel"}) == Path("/h/.config/byoc")
    assert profiles.folder({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == Path("/x/byoc")
