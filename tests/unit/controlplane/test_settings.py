"""Settings of the Control Plane."""

from dataclasses import fields
from pathlib import Path

import pytest

from byoc.controlplane.settings import SETTINGS, ControlPlaneSettings, from_environment
from byoc.errors import UsageError


def test_every_setting_is_in_the_table_with_a_description() -> None:
    assert [setting.name for setting in SETTINGS] == [
        f"BYOC_{each.name.upper()}" for each in fields(ControlPlaneSettings)
    ]
    assert all(setting.description for setting in SETTINGS)


def test_every_setting_can_be_given_by_a_variable() -> None:
    given = {
        "BYOC_DATA": "/srv/byoc",
        "BYOC_HOST": "::1",
        "BYOC_PORT": "0",
        "BYOC_GATEWAYS": "wss://a:1/nimbus/v1, wss://b:2/nimbus/v1",
        "BYOC_GATEWAY_CA": "/srv/ca.crt",
        "BYOC_LOG_LEVEL": "DEBUG",
        "BYOC_KEEP_ALIVE": "1.5",
        "BYOC_DRAIN": "2",
        "BYOC_DISPATCH_INTERVAL": "3",
        "BYOC_RECONNECT_CAP": "7",
        "BYOC_HISTORY_DAYS": "90",
        "BYOC_AUDIT_DAYS": "500",
        "BYOC_CALLS_PER_SECOND": "50",
        "BYOC_REFUSALS_PER_SECOND": "0.5",
    }
    assert set(given) == {setting.name for setting in SETTINGS}
    assert from_environment(given) == ControlPlaneSettings(
        data=Path("/srv/byoc"),
        host="::1",
        port=0,
        gateways=("wss://a:1/nimbus/v1", "wss://b:2/nimbus/v1"),
        gateway_ca=Path("/srv/ca.crt"),
        log_level="debug",
        keep_alive=1.5,
        drain=2.0,
        dispatch_interval=3.0,
        reconnect_cap=7.0,
        history_days=90.0,
        audit_days=500.0,
        calls_per_second=50.0,
        refusals_per_second=0.5,
    )


def test_what_is_not_given_stays_as_it_was() -> None:
    base = ControlPlaneSettings(port=9)
    assert from_environment({"BYOC_PORT": "", "PATH": "/bin"}, base=base) == base


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BYOC_PORT", "x"),
        ("BYOC_PORT", "65536"),
        ("BYOC_GATEWAYS", "http://a"),
        ("BYOC_LOG_LEVEL", "loud"),
        ("BYOC_KEEP_ALIVE", "0"),
        ("BYOC_CALLS_PER_SECOND", "0"),
        ("BYOC_REFUSALS_PER_SECOND", "inf"),
        ("BYOC_DRAIN", "nan"),
        ("BYOC_HISTORY_DAYS", "0"),
        ("BYOC_HISTORY_DAYS", "inf"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        from_environment({name: value})
