from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.policy import ACCEPTED, FILE, Policy, PolicyFile, decide, default_policy, parse_policy
from byoc.errors import UsageError
from byoc.model.verbs import Verb

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def allowed(policy: Policy, verb: Verb, *, sub: str = "ann", age: timedelta = timedelta(0)) -> bool:
    return decide(policy, verb, sub, NOW - age, NOW).allowed


def test_the_default_policy_allows_workspaces_groups_and_metrics_and_names_no_others() -> None:
    yes = {verb for verb in Verb if allowed(default_policy(), verb)}

    assert yes == {
        *(verb for verb in Verb if verb.startswith(("workspace.", "group."))),
        Verb.METRICS_READ,
        Verb.CELL_READ,  # facts that reports carry anyway
    }


@pytest.mark.parametrize(
    ("verb", "seconds", "yes"),
    [
        (Verb.WORKSPACE_TERMINATE, 24 * 3600, True),
        (Verb.WORKSPACE_TERMINATE, 24 * 3600 + 1, False),
        (Verb.GROUP_TERMINATE, 24 * 3600 + 1, False),
        (Verb.WORKSPACE_RESIZE, 7 * 86400, True),
        (Verb.WORKSPACE_RESIZE, 7 * 86400 + 1, False),
    ],
)
def test_what_was_asked_for_too_long_ago_is_refused(verb: Verb, seconds: int, yes: bool) -> None:
    verdict = decide(default_policy(), verb, "ann", NOW - timedelta(seconds=seconds), NOW)

    assert verdict.allowed is yes
    assert verdict.rule == ("policy-allow" if yes else "too-old")


def test_a_resync_is_allowed_only_while_the_cell_holds_nothing_or_the_policy_names_it() -> None:
    def resync(policy: Policy, *, empty: bool) -> bool:
        return decide(policy, Verb.CELL_RESYNC, "ann", NOW, NOW, state_empty=empty).allowed

    assert resync(default_policy(), empty=True)
    assert not resync(default_policy(), empty=False)
    assert resync(parse_policy('allow = ["cell.resync"]'), empty=False)
    assert not resync(parse_policy('deny = ["cell.resync"]'), empty=True)


def test_deny_beats_allow_and_even_what_needs_no_naming() -> None:
    policy = parse_policy('allow = ["*"]\ndeny = ["workspace.*", "cell.read"]')

    assert not allowed(policy, Verb.WORKSPACE_CREATE)
    assert not allowed(policy, Verb.CELL_READ)
    assert allowed(policy, Verb.LOGS_READ)


def test_a_verb_can_be_for_some_subjects_only() -> None:
    policy = parse_policy('[only_for]\n"*" = ["ann", "bob"]\n"workspace.resize" = ["bob"]')

    assert allowed(policy, Verb.WORKSPACE_SUSPEND, sub="ann")
    assert not allowed(policy, Verb.WORKSPACE_RESIZE, sub="ann")
    assert allowed(policy, Verb.WORKSPACE_RESIZE, sub="bob")
    assert decide(policy, Verb.WORKSPACE_CREATE, "eve", NOW, NOW).rule == "policy-only-for"


def test_the_most_specific_age_counts() -> None:
    policy = parse_policy('[max_age]\n"*" = "1h"\n"workspace.*" = "2h"\n"workspace.terminate" = "90s"')

    assert allowed(policy, Verb.WORKSPACE_RESIZE, age=timedelta(hours=2))
    assert not allowed(policy, Verb.GROUP_UPDATE, age=timedelta(hours=2))
    verdict = decide(policy, Verb.WORKSPACE_TERMINATE, "ann", NOW - timedelta(seconds=91), NOW)
    assert verdict.reason == "workspace.terminate was asked for more than 90s ago"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('allow = ["workspace.*"]\ndeny = [', "line 2"),
        ('allow = ["workspace.*"]\n\nallow = []', "line 3"),
        ('# mine\nallow = [\n  "workspace.explode",\n]', "line 3: unknown verb `workspace.explode`"),
        ('allow = "workspace.*"', "line 1: `allow` is not a list of verbs"),
        ("allow = [1]", "line 1: `allow` is not a list of verbs"),
        ('\nallowed = ["*"]', "line 2: unknown setting `allowed`"),
        ("max_age = 7", "line 1: `max_age` is not a table"),
        ('[max_age]\n"workspace.*" = "soon"', "line 2: `workspace.*` is not a time"),
        ('[max_age]\n"*" = "999999999d"', "line 2: `*` is not a time"),
        ('[only_for]\n"*" = "ann"', "line 2: `*` is not a list of subjects"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="policy") as error:
        parse_policy(text)
    assert said in error.value.message


@given(st.text(max_size=80) | st.text('allow="[]*.\n#', max_size=40))
def test_any_text_is_a_policy_or_an_error_of_ours(text: str) -> None:
    with suppress(UsageError):
        assert isinstance(parse_policy(text), Policy)


def test_without_a_file_the_default_policy_is_in_force(tmp_path: Path) -> None:
    assert PolicyFile(tmp_path).current() == default_policy()


def test_a_changed_file_is_in_force_at_once(tmp_path: Path) -> None:
    policy = PolicyFile(tmp_path)
    assert allowed(policy.current(), Verb.WORKSPACE_CREATE)

    (tmp_path / FILE).write_text('deny = ["workspace.create"]')

    assert not allowed(policy.current(), Verb.WORKSPACE_CREATE)


def test_a_malformed_file_keeps_the_old_policy_in_force_also_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('deny = ["workspace.create"]')
    policy = PolicyFile(tmp_path)
    before = policy.current()
    (tmp_path / FILE).write_text('deny = []\nallow = ["everything"]')

    for one in (policy, PolicyFile(tmp_path)):
        assert one.current() == before
        assert one.problem == "policy.toml line 2: unknown verb `everything`"


def test_a_mended_file_is_in_force_again_and_nothing_is_wrong(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("allow = [")
    policy = PolicyFile(tmp_path)
    assert policy.current() == default_policy()
    assert policy.problem

    (tmp_path / FILE).write_text("allow = []")

    assert policy.current() == Policy(allow=())
    assert not policy.problem


def test_a_file_that_is_taken_away_leaves_the_default_policy(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("allow = []")
    policy = PolicyFile(tmp_path)
    policy.current()

    (tmp_path / FILE).unlink()

    assert policy.current() == default_policy()
    assert PolicyFile(tmp_path).current() == default_policy()


def test_nothing_is_allowed_where_no_file_can_be_understood(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("allow = [")
    (tmp_path / ACCEPTED).write_text("damaged")

    assert not any(allowed(PolicyFile(tmp_path).current(), verb) for verb in Verb if verb != Verb.CELL_READ)


def test_a_mounted_file_that_is_exchanged_as_kubernetes_does_it_is_in_force_at_once(tmp_path: Path) -> None:
    for name, text in (("one", 'allow = ["group.*"]'), ("two", 'allow = ["workspace.*"]')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.toml").write_text(text)
    current = tmp_path / "..data"
    current.symlink_to("one")
    (tmp_path / "policy.toml").symlink_to("..data/policy.toml")
    (tmp_path / "cell").mkdir()
    policy = PolicyFile(tmp_path / "cell", tmp_path / "policy.toml")
    assert policy.current().allow == ("group.*",)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(current)
    assert policy.current().allow == ("workspace.*",)
    assert PolicyFile(tmp_path / "cell", tmp_path / "gone").current() == default_policy()
