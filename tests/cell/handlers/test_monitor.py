"""The monitor that stands for the engine, and the stack without one: strict, and leaving nothing."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pulumi
import pulumi_aws as aws_sdk
import pytest
from pulumi.runtime import resource as sdk

from byoc.cell.assume import complete
from byoc.cell.program import program as cell
from tests.cell.handlers.examples import REGION, trust
from tests.emulated.handlers.handler import UNKNOWN, Aws, Refused
from tests.emulated.monitor import AccountMocks, Deployment, Mocks, PlainMocks, deploy
from tests.emulated.stack import Stack

Json = dict[str, Any]
BUCKET = "aws:s3/bucket:Bucket"
VERSIONS = "aws:s3/bucketVersioning:BucketVersioning"
ROLE = "aws:iam/role:Role"
LOG = "aws:cloudwatch/logGroup:LogGroup"


class Part(pulumi.ComponentResource):
    """A component with a role and a bucket in it."""

    def __init__(self, days: int, name: str, status: str) -> None:
        super().__init__("byoc:test:Part", "part")
        inside = pulumi.ResourceOptions(parent=self)
        role = aws_sdk.iam.Role(
            "role", name="main-role", assume_role_policy=trust("ec2.amazonaws.com"), opts=inside
        )
        bucket = aws_sdk.s3.Bucket(
            "data", bucket=name, opts=pulumi.ResourceOptions(parent=self, protect=True)
        )
        aws_sdk.s3.BucketVersioning(
            "data",
            bucket=bucket.bucket,
            versioning_configuration=aws_sdk.s3.BucketVersioningVersioningConfigurationArgs(status=status),
            opts=pulumi.ResourceOptions(parent=self, deleted_with=bucket),
        )
        aws_sdk.cloudwatch.LogGroup(
            "log",
            name="/byoc/log",
            retention_in_days=days,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[role], ignore_changes=["retentionInDays"] if days == 7 else []
            ),
        )
        self.register_outputs({"bucket": bucket.arn})


def program(
    days: int = 30, name: str = "main-data", status: str = "Enabled", *, parameter: bool = True
) -> Callable[[], None]:
    def run() -> None:
        Part(days, name, status)
        if parameter:
            secret = pulumi.Output.secret("hush")
            made = aws_sdk.ssm.Parameter("secret", name="/byoc/secret", type="SecureString", value=secret)
            pulumi.export("secret", made.value)
        pulumi.export("plain", pulumi.Config().get("word"))

    return run


@pytest.fixture(params=["plain", "account"])
def mocks(request: pytest.FixtureRequest, aws: Aws) -> Mocks:
    return PlainMocks(REGION) if request.param == "plain" else AccountMocks(aws)


def test_a_deployment_tells_parents_options_and_what_waits_for_what(mocks: Mocks) -> None:
    seen = deploy(program(), mocks)
    bucket, role, log = seen.one(BUCKET, "data"), seen.one(ROLE, "role"), seen.one(LOG, "log")
    assert bucket.protect
    assert bucket.parent == "urn:pulumi:test::byoc::byoc:test:Part::part"
    assert bucket.urn == "urn:pulumi:test::byoc::byoc:test:Part$aws:s3/bucket:Bucket::data"
    assert seen.one(VERSIONS, "data").deleted_with == bucket.urn
    assert bucket.urn in seen.waits_for(seen.one(VERSIONS, "data").urn)
    assert role.urn in log.depends_on
    assert bucket.urn not in seen.waits_for(log.urn)


def test_secrets_are_told_apart_and_stay_secret(mocks: Mocks) -> None:
    seen = deploy(program(), mocks, config={"word": "hello"})
    (parameter,) = seen.of("aws:ssm/parameter:Parameter")
    assert parameter.secrets == {"value"}
    assert parameter.inputs["value"] == "hush"
    assert seen.exports == {"secret": "hush", "plain": "hello"}
    assert seen.secret_exports == {"secret"}


def test_components_give_out_what_they_registered(mocks: Mocks) -> None:
    seen = deploy(program(), mocks)
    (outputs,) = seen.registered.values()
    assert outputs == {"bucket": "arn:aws:s3:::main-data"}


def test_a_preview_knows_what_follows_from_names_only(mocks: Mocks) -> None:
    seen = deploy(program(), mocks, preview=True)
    assert seen.one(VERSIONS, "data").inputs["bucket"] == "main-data"
    assert seen.outputs[seen.one(BUCKET, "data").urn]["arn"] == UNKNOWN


def test_a_preview_makes_nothing(aws: Aws) -> None:
    deploy(program(), AccountMocks(aws), preview=True)
    assert aws("s3").list_buckets()["Buckets"] == []


def test_two_resources_of_one_name_are_refused() -> None:
    def twice() -> None:
        aws_sdk.s3.Bucket("data", bucket="one-bucket")
        aws_sdk.s3.Bucket("data", bucket="two-bucket")

    with pytest.raises(Refused, match="`data` is registered twice"):
        deploy(twice, PlainMocks(REGION))


def test_a_program_that_asks_the_provider_is_refused() -> None:
    with pytest.raises(Exception, match="asks the provider for aws:index/getCallerIdentity"):
        deploy(lambda: aws_sdk.get_caller_identity() and None, PlainMocks(REGION))


def test_a_dictionary_with_a_misspelt_key_is_refused() -> None:
    wrong: Any = {"status": "Enabled", "mfa_delet": "x"}

    def misspelt() -> None:
        aws_sdk.s3.BucketVersioning("data", bucket="main-data", versioning_configuration=wrong)

    with pytest.raises(Refused, match=r"`versioningConfiguration.mfa_delet` is no property"):
        deploy(misspelt, PlainMocks(REGION))


def test_a_run_that_failed_leaves_nothing_to_the_next() -> None:
    def failing() -> None:
        Part(31, "main-data", "Enabled")

    for _ in range(3):
        with pytest.raises(Refused, match="31 is not allowed"):
            deploy(failing, PlainMocks(REGION))
        assert isinstance(deploy(program(), PlainMocks(REGION)), Deployment)


def test_a_stack_is_made_once(aws: Aws) -> None:
    stack = Stack(aws)
    assert {step.op for step in stack.preview(program()).steps} == {"create"}
    assert stack.up(program()).count("create") == 5
    assert stack.preview(program()).changes == []
    assert stack.up(program()).changes == []


def test_a_stack_follows_the_program(aws: Aws) -> None:
    stack = Stack(aws)
    stack.up(program())
    planned = stack.preview(program(days=90))
    assert [str(step) for step in planned.changes] == ["update LogGroup log"]
    assert planned.changes[0].paths == {"retentionInDays"}
    stack.up(program(days=90))
    assert aws("logs").describe_log_groups()["logGroups"][0]["retentionInDays"] == 90


def test_what_the_program_ignores_stays(aws: Aws) -> None:
    stack = Stack(aws)
    stack.up(program())
    assert stack.up(program(days=7)).changes == []


def test_what_leaves_the_program_is_deleted(aws: Aws) -> None:
    stack = Stack(aws)
    stack.up(program())
    assert [str(step) for step in stack.preview(program(parameter=False)).changes] == [
        "delete Parameter secret"
    ]
    stack.up(program(parameter=False))
    assert aws("ssm").describe_parameters()["Parameters"] == []


def test_what_is_protected_is_not_replaced_and_not_destroyed(aws: Aws) -> None:
    stack = Stack(aws)
    stack.up(program())
    with pytest.raises(Refused, match="data cannot be replaced: bucket"):
        stack.up(program(name="other-data"))
    with pytest.raises(Refused, match="data cannot be deleted"):
        stack.destroy()
    assert aws("s3").list_buckets()["Buckets"]


def test_drift_is_found_and_healed(aws: Aws) -> None:
    stack = Stack(aws)
    stack.up(program())
    assert stack.refresh() == []
    opened = json.loads(trust("ec2.amazonaws.com", "lambda.amazonaws.com"))
    aws("iam").update_assume_role_policy(RoleName="main-role", PolicyDocument=json.dumps(opened))
    aws("logs").delete_log_group(logGroupName="/byoc/log")
    assert {str(step) for step in stack.refresh()} == {"drift Role role", "gone LogGroup log"}
    assert {str(step) for step in stack.up(program()).changes} == {"update Role role", "create LogGroup log"}
    assert stack.refresh() == []
    role = aws("iam").get_role(RoleName="main-role")["Role"]
    assert role["AssumeRolePolicyDocument"] == json.loads(trust("ec2.amazonaws.com"))


def test_what_was_made_before_a_failure_is_held(aws: Aws) -> None:
    stack = Stack(aws)
    aws("logs").create_log_group(logGroupName="/byoc/log")
    with pytest.raises(Refused, match="ResourceAlreadyExistsException"):
        stack.up(program())
    assert any(one.asked.name == "role" for one in stack.held.values())
    aws("logs").delete_log_group(logGroupName="/byoc/log")
    stack.up(program())
    assert len(stack.held) == 5


def test_a_destroyed_stack_leaves_nothing(aws: Aws) -> None:
    stack = Stack(aws)
    stack.up(program())
    ended = [step.name for step in stack.destroy(even_protected=True)]
    assert ended.index("log") < ended.index("role")
    assert stack.held == {}
    assert aws("s3").list_buckets()["Buckets"] == []
    assert aws("iam").list_roles()["Roles"] == []


@pytest.mark.parametrize("preview", [False, True])
def test_a_run_registers_the_same_with_what_it_is_spared(
    monkeypatch: pytest.MonkeyPatch, *, preview: bool
) -> None:
    make = cell(complete({"account": "123456789012"})[0])
    spared = [deploy(each, PlainMocks(), preview=preview) for each in (program(), make)]
    monkeypatch.setattr("tests.emulated.monitor.spared", nullcontext)
    assert spared == [deploy(each, PlainMocks(), preview=preview) for each in (program(), make)]


def test_aliases_of_a_spared_run_are_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Their URNs are worked out by the same function as those that nobody reads.
    parent = pulumi.Alias(name="was", parent=pulumi.ROOT_STACK_RESOURCE)
    asked = {"parent_urn": "urn:pulumi:test::byoc::byoc:test:Part::part", "of": "other"}

    def urns() -> list[Any]:
        found: list[Any] = []

        def run() -> None:
            for urn in (
                sdk.create_urn("n", "a:b:C", asked["parent_urn"]),
                sdk.create_urn("n", "a:b:C"),
                sdk.create_urn("n", "a:b:C", None, asked["of"], asked["of"]),
                sdk.create_urn(pulumi.Output.from_input("n"), "a:b:C", asked["parent_urn"]),
            ):
                urn.apply(found.append)
            pulumi.ComponentResource("byoc:test:Part", "part", None, pulumi.ResourceOptions(aliases=[parent]))

        made = deploy(run, PlainMocks())
        return [*sorted(found), [each.aliases for each in made.resources.values()]]

    spared = urns()
    monkeypatch.setattr("tests.emulated.monitor.spared", nullcontext)
    assert spared == urns()
    assert len(spared) == 5
