from datetime import UTC, datetime, timedelta

import pytest

from byoc.clock import SystemClock
from byoc.errors import UsageError
from byoc.model.check import Result
from byoc.nimbus.prechecks import CLOCK, LINE, NAME, compare, prechecks, proxy_for

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROXY = {"HTTPS_PROXY": "http://ann:s3cret@proxy.test:3128"}


@pytest.mark.parametrize(
    ("host", "environment", "proxy"),
    [
        ("g.test", {}, ""),
        ("g.test", PROXY, "proxy.test:3128"),
        ("g.test", {"https_proxy": "http://proxy.test:3128"}, "proxy.test:3128"),
        ("g.test", {**PROXY, "NO_PROXY": ".test"}, ""),
        ("127.0.0.1", PROXY, ""),
    ],
)
def test_the_proxy_is_named_without_its_password(host: str, environment: dict[str, str], proxy: str) -> None:
    assert proxy_for(host, environment) == proxy


@pytest.mark.parametrize(
    ("seconds", "result", "said"),
    [
        (0, Result.PASS, "within 5 s"),
        (-5, Result.PASS, "within 5 s"),
        (61, Result.FAIL, "this machine's clock is 61 s behind the gateway's"),
        (-600, Result.FAIL, "this machine's clock is 600 s ahead of the gateway's"),
    ],
)
def test_clocks_that_differ_too_much_fail_with_the_offset(seconds: int, result: Result, said: str) -> None:
    check = compare(NOW + timedelta(seconds=seconds), NOW)
    assert check.result is result
    assert said in check.detail
    assert bool(check.action) is (result is Result.FAIL)


def test_a_gateway_that_does_not_tell_the_time_is_not_taken_for_a_pass() -> None:
    assert compare(None, NOW).result is Result.UNKNOWN


async def test_what_comes_after_a_step_that_failed_is_skipped() -> None:
    nowhere = "wss://name.that.is.invalid:443"
    checks = await prechecks(nowhere, ca=None, environment={}, clock=SystemClock())
    assert [(each.name, each.result) for each in checks] == [
        (NAME, Result.FAIL),
        (LINE, Result.SKIP),
        (CLOCK, Result.SKIP),
    ]
    assert "DNS" in checks[0].action


async def test_a_gateway_that_refuses_fails_at_its_line_with_what_to_do() -> None:
    checks = await prechecks("wss://127.0.0.1:1", ca=None, environment=PROXY, clock=SystemClock())
    assert [each.result for each in checks] == [Result.PASS, Result.FAIL, Result.SKIP]
    assert checks[1].action


async def test_a_url_that_is_no_gateways_is_refused() -> None:
    with pytest.raises(UsageError):
        await prechecks("https://g.test", ca=None, environment={}, clock=SystemClock())
