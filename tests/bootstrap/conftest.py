"""An empty AWS account in this process; what the code under test calls is emulated by moto."""

from collections.abc import Iterator
from typing import Any

import pytest
from boto3 import Session
from moto import mock_aws

from byoc.bootstrap.aws import Account
from tests.emulated.bucket_policies import honour_conditions

REGION = "eu-west-1"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def account() -> Iterator[Account]:
    undo = honour_conditions()
    with mock_aws():
        account = Account(Session(), REGION)
        _add_quotas(account.client("service-quotas"))
        yield account
    undo()


def _add_quotas(client: Any) -> None:
    """Let the emulation answer for quotas as AWS does, with its defaults; moto knows a few only."""

    def quota(**asked: str) -> dict[str, Any]:
        return {"Quota": {"QuotaCode": asked["QuotaCode"], "Value": 5.0}}

    client.get_service_quota = quota
