"""The same journey where the stack itself brings the cell's objects into its cluster, without a function.

As somebody with a role of the account's, who is an administrator of the cluster and reaches its API. Beside
what a journey emulates, pulumi-kubernetes and AWS's command line are stand-ins.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.cell.incluster import KEYS, NAMESPACE
from byoc.testing.instance import Instance
from tests.emulated import moto_eks
from tests.emulated.aws_command import lay_command
from tests.emulated.handlers.handler import ACCOUNT
from tests.pulumi.journey import (
    CELL,
    ClusterSite,
    bootstrapped,
    cluster_site,
    destroyed,
    end_workspace,
    nothing_drifted,
    served,
    workspace_in,
)

ROLE = f"arn:aws:iam::{ACCOUNT}:role/platform"


@pytest.fixture
def site(engine: Pulumi, short_path: Path) -> Iterator[ClusterSite]:
    lay_command(short_path / "commands")
    with (
        cluster_site(engine, short_path) as made,
        moto_eks.reached(made.plane.url, made.plane.authority),
    ):
        made.path = f"{short_path / 'commands'}:{made.path}"
        made.credentials = _of_role(made)
        yield made


def _of_role(site: ClusterSite) -> dict[str, str]:
    """Make the customer's own role, an administrator's, and take it on."""
    aws = site.account.aws()
    trust, rights = (
        json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **said}]})
        for said in (
            {"Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"},
            {"Action": "*", "Resource": "*"},
        )
    )
    aws("iam").create_role(RoleName="platform", AssumeRolePolicyDocument=trust)
    aws("iam").put_role_policy(RoleName="platform", PolicyName="administrator", PolicyDocument=rights)
    session = aws("sts").assume_role(RoleArn=ROLE, RoleSessionName="anna")["Credentials"]
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return dict(zip(variables, (session[name] for name in names), strict=True))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "instance") as made:
        yield made


@pytest.mark.timeout(1200)
def test_a_cell_that_is_delivered_directly_is_enrolled_serves_and_leaves_nothing(
    site: ClusterSite, instance: Instance, tmp_path: Path
) -> None:
    settings = tmp_path / "cell.json"
    small = {"nat": "single", "workspaceTypes": ["r6i.xlarge"]}
    settings.write_text(json.dumps({"delivery": "direct", "administrators": [ROLE], **small}))
    answer = bootstrapped(site, instance, "--config", str(settings))
    assert site.entrance.came == {ROLE: ("system:masters",)}, "the caller alone, and no function"
    assert site.account.aws()("lambda").list_functions()["Functions"] == []

    workspace = workspace_in(site, instance, answer["cellID"], tmp_path)
    assert served(site, workspace, "SELECT 7") == ((7,),)
    end_workspace(site, instance, workspace)

    nothing_drifted(site, instance)
    assert not _private(site), "what the cell keeps to itself is in no state"
    destroyed(site, instance)


def _private(site: ClusterSite) -> list[str]:
    """Return the parts of the stack's state in which the cell's keys are, or would be."""
    held = site.ask(f"/api/v1/namespaces/{NAMESPACE}/secrets/{KEYS}")["data"]
    assert held, "the cell has its keys"
    s3 = site.account.aws()("s3")
    (bucket,) = (one["Name"] for one in s3.list_buckets()["Buckets"] if "state" in one["Name"])
    names = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    texts = {name: s3.get_object(Bucket=bucket, Key=name)["Body"].read().decode() for name in names}
    assert any(f"/{CELL}.json" in name and "kubernetes:apps/v1:StatefulSet" in texts[name] for name in names)
    return [
        name
        for name, text in texts.items()
        if "kubernetes:core/v1:Secret" in text or any(value in text for value in held.values())
    ]
