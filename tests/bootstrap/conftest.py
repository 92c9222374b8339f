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
        _add_offers(account)
        yield account
    undo()


@pytest.fixture
def changes(account: Account) -> list[str]:
    """Every call that would change something in the account, as it comes."""
    made: list[str] = []

    def note(model: Any, params: Any, **_: Any) -> None:
        body = params.get("body")
        dry = isinstance(body, dict) and body.get("DryRun") in {"true", True}
        if not dry and not model.name.startswith(("Describe", "List", "Get", "Head", "Simulate")):
            made.append(model.name)

    for service in ("ec2", "iam", "s3", "eks", "ssm", "service-quotas", "sts", "kms", "lambda"):
        account.client(service).meta.events.register(f"before-call.{service}", note)
    return made


def _add_offers(account: Account) -> None:
    """Let EKS offer versions, images and add-ons; moto knows of none."""
    eks, ssm = account.client("eks"), account.client("ssm")
    offered = {"compatibilities": [{"clusterVersion": "1.34", "defaultVersion": True}]}
    eks.describe_cluster_versions = lambda: {"clusterVersions": [{"clusterVersion": "1.34"}]}
    eks.describe_addon_versions = lambda **asked: {
        "addons": [
            {"addonName": asked["addonName"], "addonVersions": [{"addonVersion": "v1.2.3", **offered}]}
        ]
    }
    known = ssm.get_parameter

    def get_parameter(**asked: Any) -> Any:
        if asked["Name"].startswith("/aws/service/eks/"):
            return {"Parameter": {"Value": "1.34.2-20261101"}}
        return known(**asked)

    ssm.get_parameter = get_parameter


def _add_quotas(client: Any) -> None:
    """Let the emulation answer for quotas as AWS does, with its defaults; moto knows a few only."""

    def quota(**asked: str) -> dict[str, Any]:
        return {"Quota": {"QuotaCode": asked["QuotaCode"], "Value": 64.0}}

    client.get_service_quota = quota
