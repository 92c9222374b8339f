import json
import os
import re
import tomllib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from byoc.clock import parse_stamp
from byoc.dataplane.files import FileStorage
from byoc.dataplane.policy import (
    ACCEPTED,
    FILE,
    Policy,
    PolicyFile,
    Verdict,
    decide,
    default_policy,
    parse_policy,
)
from byoc.dataplane.policy_schema import schema
from byoc.dataplane.policy_schema import text as schema_text
from byoc.dataplane.rates import Rates
from byoc.dataplane.storage import StateBroken
from byoc.errors import UsageError
from byoc.model.verbs import Verb
from byoc.testing import ManualClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def allowed(policy: Policy, verb: Verb, *, sub: str = "ann", age: timedelta = timedelta(0)) -> bool:
    return decide(policy, verb, sub, NOW - age, NOW).allowed


def test_the_default_policy_allows_workspaces_groups_and_metrics_and_names_no_others() -> None:
    yes = {verb for verb in Verb if allowed(default_policy(), verb)}

    assert yes == {
        *(verb for verb in Verb if verb.startswith(("workspace.", "group."))),
        Verb.METRICS_READ,
        Verb.CELL_READ,  # facts that reports carry anyway
        Verb.CELL_REKEY,  # keys that the cell makes itself
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
        ('approval = ["workspace.vanish"]', "line 1: unknown verb `workspace.vanish`"),
        ('[windows]\n"*" = []', "line 2: `*` is not a list of windows"),
        ('[windows]\n"*" = [{ days = ["mum"] }]', "line 2: `*`: `mum` is no day"),
        ('[windows]\n"*" = [{ hours = "25:00-26:00" }]', "line 2: `*`: `25:00-26:00` are no hours"),
        ('[windows]\n"*" = [{ hours = "08:00-08:00" }]', "line 2: `*`: `08:00-08:00` are no hours"),
        (
            '[windows]\n"*" = [\n  { zone = "Mars/Olympus" },\n]',
            "line 3: `*`: `Mars/Olympus` is no time zone",
        ),
        ('[windows]\n"*" = [{ zone = "../etc/passwd" }]', "line 2: `*`: `../etc/passwd` is no time zone"),
        ('[windows]\n"*" = [{ day = "mon" }]', "line 2: `*`: a window has no `day`"),
        ('[windows]\n"*" = [{ days = "mon" }]', "line 2: `*`: days are a list of texts"),
        ('[rate]\n"*" = "often"', "line 2: `*` is not a rate"),
        ('[rate]\n"*" = "0/1h"', "line 2: `*` is not a rate"),
        ('[rate]\n"*" = "5/8d"', "line 2: `*`: a rate counts 7d at most"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="policy") as error:
        parse_policy(text)
    assert said in error.value.message


WINDOW = '[windows]\n"*" = [{ days = ["fri"], hours = "22:00-06:00", zone = "Europe/Zurich" }]'


@pytest.mark.parametrize(
    ("moment", "yes"),
    [
        ("2030-01-04T20:59:59Z", False),  # a Friday, 21:59:59 in Zurich
        ("2030-01-04T21:00:00Z", True),
        ("2030-01-05T04:59:59Z", True),  # Saturday morning belongs to Friday's night
        ("2030-01-05T05:00:00Z", False),
        ("2030-01-04T02:00:00Z", False),  # Friday morning belongs to Thursday's
        ("2030-07-05T20:00:00Z", True),  # in summer the same hours of the clock come earlier
    ],
)
def test_a_window_through_the_night_belongs_to_the_day_it_begins_on(moment: str, yes: bool) -> None:
    now = parse_stamp(moment)
    verdict = decide(parse_policy(WINDOW), Verb.WORKSPACE_RESIZE, "ann", now, now)

    assert verdict.allowed is yes
    assert (verdict.rule, verdict.setting) == (
        ("policy-allow", 'allow "workspace.*"') if yes else ("policy-window", 'windows "*"')
    )


def test_a_refusal_outside_the_window_says_when_it_opens() -> None:
    verdict = decide(parse_policy(WINDOW), Verb.WORKSPACE_RESIZE, "ann", NOW, NOW)

    assert verdict.reason.endswith("the next one opens at 2030-01-04T21:00:00Z")


@pytest.mark.parametrize("verb", [Verb.WORKSPACE_TERMINATE, Verb.GROUP_TERMINATE])
def test_a_verb_can_need_approval_and_what_is_denied_needs_none(verb: Verb) -> None:
    policy = parse_policy('approval = ["workspace.terminate", "group.*"]\ndeny = ["group.terminate"]')
    verdict = decide(policy, verb, "ann", NOW, NOW)

    assert (verdict.allowed, verdict.approval) == ((verb is Verb.WORKSPACE_TERMINATE,) * 2)


def test_a_rate_counts_what_was_done_under_its_pattern() -> None:
    policy = parse_policy('[rate]\n"workspace.*" = "3/1h"\n"workspace.terminate" = "1/1d"')
    done = {"workspace.*": 2, "workspace.terminate": 1}

    def verdict(verb: Verb) -> Verdict:
        return decide(policy, verb, "ann", NOW, NOW, spent=lambda pattern, _: done.get(pattern, 0))

    assert verdict(Verb.WORKSPACE_RESIZE).allowed
    assert verdict(Verb.WORKSPACE_TERMINATE).rule == "policy-rate"
    done["workspace.*"] = 3
    assert verdict(Verb.WORKSPACE_RESIZE).setting == 'rate "workspace.*"'


def test_rates_are_counted_across_restarts_and_forgotten_in_time(tmp_path: Path, clock: ManualClock) -> None:
    policy = parse_policy('[rate]\n"workspace.*" = "3/1h"')
    Rates(FileStorage(tmp_path), clock).spend(policy, Verb.WORKSPACE_RESIZE)
    clock.advance(1800)
    rates = Rates(FileStorage(tmp_path), clock)
    rates.spend(policy, Verb.WORKSPACE_SUSPEND)
    rates.spend(policy, Verb.GROUP_UPDATE)  # no rate is for it

    assert rates.spent("workspace.*", timedelta(hours=1)) == 2
    clock.advance(1801)
    assert rates.spent("workspace.*", timedelta(hours=1)) == 1


def test_a_damaged_count_of_rates_is_named_and_not_dropped(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "rates.json").write_text("[]")
    with pytest.raises(StateBroken, match=r"rates\.json"):
        Rates(FileStorage(tmp_path), clock)


def test_a_policy_of_the_same_size_and_time_counts_too(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text('deny = ["workspace.update"]')
    os.utime(path, ns=(1, 1))
    file = PolicyFile(tmp_path)
    assert file.current().deny == ("workspace.update",)
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_text('deny = ["workspace.resize"]')
        os.utime(path, ns=(1, 1))

    assert file.current().deny == ("workspace.resize",)


@pytest.mark.parametrize("text", ["allow = " + "1" * 5000, "allow = " + "[" * 5000])
def test_a_text_that_the_reader_itself_chokes_on_changes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text('deny = ["*"]')
    file = PolicyFile(tmp_path)
    assert file.current().deny == ("*",)
    (tmp_path / FILE).write_text(text)

    assert file.current().deny == ("*",)
    assert file.problem


TABLES = st.fixed_dictionaries(
    {},
    optional={
        "allow": st.lists(st.sampled_from(["*", "workspace.*", "workspace.fly", "group.update"]), max_size=2),
        "approval": st.lists(st.sampled_from(["group.*", "x"]), max_size=2) | st.just("x"),
        "max_age": st.dictionaries(st.sampled_from(["*", "y"]), st.sampled_from(["7d", "24h", "d", "1w"])),
        "rate": st.dictionaries(st.just("group.*"), st.sampled_from(["3/1h", "0/1h", "1/0h", "x"])),
        "windows": st.dictionaries(
            st.just("*"),
            st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "days": st.lists(st.sampled_from(["mon", "fri", "may"]), max_size=2),
                        "hours": st.sampled_from(["08:00-18:00", "22:00-06:00", "8-9", ""]),
                        "zone": st.just("UTC"),
                        "day": st.just("mon"),
                    },
                ),
                max_size=2,
            ),
        ),
        "when": st.just(1),
    },
)


@given(TABLES)
def test_the_schema_and_the_reader_agree(table: dict[str, Any]) -> None:
    try:
        parse_policy(toml(table))
    except UsageError:
        understood = False
    else:
        understood = True
    assert Draft202012Validator(schema()).is_valid(table) is understood


def toml(value: Any, *, inner: bool = False) -> str:
    if isinstance(value, dict):
        pairs = [f"{json.dumps(name)} = {toml(one, inner=True)}" for name, one in value.items()]
        return f"{{{', '.join(pairs)}}}" if inner else "\n".join(pairs)
    return (
        f"[{', '.join(toml(one, inner=True) for one in value)}]"
        if isinstance(value, list)
        else json.dumps(value)
    )


def test_the_schema_that_is_shipped_is_made_of_the_types() -> None:
    shipped = files("byoc.dataplane").joinpath("policy.schema.json").read_text()
    assert shipped == schema_text(), "run: python -m byoc.dataplane.policy_schema > that file"
    Draft202012Validator.check_schema(schema())


def test_the_examples_of_the_page_are_policies() -> None:
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) > 1
    for example in examples:
        parse_policy(example)
        assert Draft202012Validator(schema()).is_valid(tomllib.loads(example))


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

    always = {Verb.CELL_READ, Verb.CELL_REKEY}
    assert not any(allowed(PolicyFile(tmp_path).current(), verb) for verb in Verb if verb not in always)


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
