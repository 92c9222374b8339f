"""Breaking the glass in an emulated account: what is made, and that no kill anywhere leaves any of it."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from boto3 import Session as Boto
from moto import mock_aws

from byoc.bootstrap import record, state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.breakglass import plan, unmake
from byoc.bootstrap.breakglass.glass import BreakGlass
from byoc.bootstrap.breakglass.make import IMAGE
from byoc.bootstrap.breakglass.plan import Session, State
from byoc.bootstrap.leftovers import look
from byoc.bootstrap.record import Record, Stage
from byoc.cell import arns, config, endpoints
from byoc.cell.assume import complete
from byoc.cell.boundary import boundary
from byoc.cell.grants import allowed, grants
from byoc.cell.outputs import CellOutputs
from byoc.cell.trail import action_of
from byoc.errors import Conflict, NotFound, PreconditionFailed, UsageError
from byoc.ids import new_id
from byoc.testing import ManualClock
from tests.emulated.bucket_policies import honour_conditions

CELL = "sales"
HOUR = timedelta(hours=1)
SERVICES = ("ec2", "iam", "s3", "ssm", "logs", "eks")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Scene:
    """A cell that stands, as far as breaking its glass can see."""

    account: Account
    clock: ManualClock = field(default_factory=ManualClock)
    cluster_group: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    vpc: str = ""

    def __post_init__(self) -> None:
        state.make(self.account)
        number = self.account.identity.account
        ec2 = self.account.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        subnets = {
            f"eu-west-1{letter}": ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.20.{at}.0/24", AvailabilityZone=f"eu-west-1{letter}"
            )["Subnet"]["SubnetId"]
            for at, letter in enumerate("abc")
        }
        self.cluster_group = ec2.create_security_group(GroupName="c", Description="c", VpcId=vpc)["GroupId"]
        self.account.client("eks").describe_cluster = lambda **_: {
            "cluster": {"resourcesVpcConfig": {"clusterSecurityGroupId": self.cluster_group}}
        }
        key = self.account.client("kms").create_key()["KeyMetadata"]["Arn"]
        self.vpc = vpc
        args, _ = complete({"name": CELL, "account": number, "region": "eu-west-1", **self.settings})
        self.account.client("iam").create_policy(
            PolicyName=arns.boundary_name(args), PolicyDocument=boundary(args).text()
        )
        texts = dict.fromkeys(CellOutputs.__slots__, "x") | {"vpc_id": vpc, "key_arn": key}
        outputs = CellOutputs(**texts | {"private_subnets": subnets, "egress_addresses": ()})
        made = Record(
            cell=CELL,
            version="0",
            stage=Stage.CONNECTED,
            values=config.to_mapping(args),
            outputs=outputs.to_mapping(),
        )
        record.write(state.backend(self.account).objects, made)
        ssm = self.account.client("ssm")
        known = ssm.get_parameter
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        ssm.get_parameter = lambda **asked: (
            {"Parameter": {"Value": image}} if asked["Name"] == IMAGE else known(**asked)
        )

    @property
    def glass(self) -> BreakGlass:
        return BreakGlass(self.account, self.clock, lambda _: None)

    def open(self, *, another: bool = False, reason: str = "incident 7") -> Session:
        return self.glass.open(CELL, ttl=HOUR, reason=reason, new_id=new_id, another=another)

    def states(self) -> list[State]:
        return [its for _, its in self.glass.sessions(CELL)]

    def machine(self, session: Session) -> dict[str, Any]:
        found = self.account.client("ec2").describe_instances(InstanceIds=[session.machine])
        one: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return one

    def left(self) -> list[tuple[str, str]]:
        """What of sessions is in the account, but the log of what was done in them."""
        return [(one.kind, one.id) for one in look(self.account, CELL) if one.kind != "session log"]

    def doors(self) -> list[Any]:
        (group,) = self.account.client("ec2").describe_security_groups(GroupIds=[self.cluster_group])[
            "SecurityGroups"
        ]
        return group["IpPermissions"]


@pytest.fixture
def scene(account: Account) -> Scene:
    return Scene(account)


def test_nothing_of_it_exists_until_it_is_opened(scene: Scene) -> None:
    assert look(scene.account, CELL) == []
    assert scene.states() == []


def test_the_machine_cannot_be_dialled_and_ends_itself(scene: Scene) -> None:
    session = scene.open()
    ec2, machine = scene.account.client("ec2"), scene.machine(session)
    (own,) = ec2.describe_security_groups(GroupIds=[machine["NetworkInterfaces"][0]["Groups"][0]["GroupId"]])[
        "SecurityGroups"
    ]
    assert own["IpPermissions"] == []
    assert [rule["FromPort"] for rule in own["IpPermissionsEgress"]] == [443]
    assert "KeyName" not in machine
    assert machine.get("PublicIpAddress") is None
    assert (
        machine["MetadataOptions"]["HttpTokens"],
        machine["MetadataOptions"]["HttpPutResponseHopLimit"],
    ) == (
        "required",
        1,
    )
    tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    assert tags["byoc:cell"] == CELL
    assert tags["byoc:breakglass"] == session.id
    assert tags["byoc:breakglass-reason"] == "incident 7"
    asked = {"InstanceId": session.machine, "Attribute": "instanceInitiatedShutdownBehavior"}
    assert (
        ec2.describe_instance_attribute(**asked)["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    )
    data = ec2.describe_instance_attribute(InstanceId=session.machine, Attribute="userData")["UserData"][
        "Value"
    ]
    assert f"OnCalendar={session.until:%Y-%m-%d %H:%M:%S} UTC" in base64.b64decode(data).decode()
    (volume,) = ec2.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [session.machine]}]
    )["Volumes"]
    assert volume["Encrypted"]


def test_the_role_is_within_the_boundary(scene: Scene) -> None:
    session = scene.open()
    role = scene.account.client("iam").get_role(RoleName=plan.role_name(CELL, session.id))["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(f":policy/byoc-{CELL}-boundary")


def test_sessions_are_logged_also_after_somebody_switched_that_off(scene: Scene) -> None:
    ssm = scene.account.client("ssm")
    unlogged = json.dumps({"schemaVersion": "1.0", "description": "x", "inputs": {}})
    ssm.create_document(
        Name=plan.document_name(CELL), Content=unlogged, DocumentType="Session", DocumentFormat="JSON"
    )
    scene.open()
    said = json.loads(ssm.get_document(Name=plan.document_name(CELL), DocumentFormat="JSON")["Content"])
    group = said["inputs"]["cloudWatchLogGroupName"]
    assert said["inputs"]["cloudWatchEncryptionEnabled"]
    assert said["inputs"]["cloudWatchStreamingEnabled"]
    (found,) = scene.account.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found["kmsKeyId"]
    assert found["retentionInDays"] == 365


def test_it_is_on_record_before_anything_is_made(scene: Scene, changes: list[str]) -> None:
    scene.open()
    assert changes[0] == "PutObject"
    (session, its) = scene.glass.sessions(CELL)[0]
    assert its is State.OPEN
    assert session.reason == "incident 7"
    assert session.by == scene.account.identity.arn


def test_a_record_is_added_and_never_changed(scene: Scene) -> None:
    objects = state.BucketObjects(
        scene.account, state.bucket_name(scene.account.identity.account, "eu-west-1")
    )
    objects.add("a", b"1")
    with pytest.raises(Conflict):
        objects.add("a", b"2")
    assert objects.read("a") == b"1"


def test_a_second_session_is_refused_unless_it_is_asked_for(scene: Scene) -> None:
    first = scene.open()
    with pytest.raises(Conflict, match=first.id):
        scene.open()
    scene.clock.advance(1)
    second = scene.open(another=True)
    assert scene.states() == [State.OPEN, State.OPEN]
    scene.glass.close(second.id)
    assert scene.account.client("ssm").get_document(Name=plan.document_name(CELL))


def test_closing_leaves_the_log_and_nothing_else_and_may_be_repeated(scene: Scene) -> None:
    session = scene.open()
    assert len(scene.doors()) == 1
    closed = scene.glass.close(session.id)
    assert scene.glass.close(session.id) == closed
    assert scene.left() == []
    assert scene.doors() == []
    assert scene.states() == [State.CLOSED]
    assert [one.id for one in look(scene.account, CELL)] == [f"/byoc/{CELL}/breakglass"]


def test_what_a_session_makes_is_known_to_be_left_over(scene: Scene) -> None:
    scene.open()
    kinds = {kind for kind, _ in scene.left()}
    assert kinds >= {"instance", "security group", "role", "instance profile", "session document"}


def test_a_machine_that_outlived_its_time_is_said_and_ended_by_the_next_open(scene: Scene) -> None:
    first = scene.open()
    scene.clock.advance(3600)
    assert scene.states() == [State.OVERDUE]
    scene.open()
    assert scene.states() == [State.OPEN, State.CLOSED]
    assert list(unmake.machines(scene.account, CELL, first.id)) == []


def test_a_machine_that_ended_itself_is_said(scene: Scene) -> None:
    session = scene.open()
    scene.account.client("ec2").terminate_instances(InstanceIds=[session.machine])
    assert scene.states() == [State.ENDED]
    scene.clock.advance(3600)
    assert scene.states() == [State.EXPIRED]


def test_no_reason_or_no_cell_makes_nothing(scene: Scene, changes: list[str]) -> None:
    with pytest.raises(UsageError):
        scene.open(reason="  ")
    with pytest.raises(NotFound):
        scene.glass.open("other", ttl=HOUR, reason="x", new_id=new_id)
    with pytest.raises(NotFound):
        scene.glass.close("0123456789ab")
    assert changes == []


CLOSED = {"nat": "none", "egressProxy": "http://10.9.9.9:3128", "imageRegistry": "mirror.example"}
"""A cell whose subnets lead nowhere."""


def test_without_a_way_out_and_without_endpoints_no_session_is_begun(
    account: Account, changes: list[str]
) -> None:
    scene = Scene(account, settings=CLOSED)
    changes.clear()
    with pytest.raises(PreconditionFailed, match=r"endpoint for logs, ssm, ssmmessages") as refusal:
        scene.open()
    assert refusal.value.hint == f"`byoc cell upgrade {CELL}` makes what is missing"
    assert changes == []
    assert scene.states() == []


def test_without_a_way_out_a_session_goes_by_the_cells_endpoints(account: Account) -> None:
    scene = Scene(account, settings=CLOSED)
    args, _ = complete({"name": CELL, "account": "123456789012", "region": "eu-west-1", **CLOSED})
    wanted = set(endpoints.WITHOUT_NAT)
    assert wanted <= set(endpoints.missing(args))
    for service in wanted:
        account.client("ec2").create_vpc_endpoint(
            VpcId=scene.vpc, ServiceName=endpoints.service_name(args, service), VpcEndpointType="Interface"
        )
    scene.open()
    assert scene.states() == [State.OPEN]


UNASKED = {
    "ec2:CreateTags": "asked within the calls that make things",
    "iam:PassRole": "asked within the call that starts the machine",
    "iam:TagInstanceProfile": "asked within the call that makes it",
    "iam:TagRole": "asked within the call that makes it",
    "kms:CreateGrant": "asked by EC2 of its caller, for the disk",
    "kms:Decrypt": "asked by S3 of its caller, for the record",
    "kms:DescribeKey": "asked by EC2 of its caller, for the disk",
    "kms:GenerateDataKey": "asked by S3 of its caller, for the record",
    "kms:GenerateDataKeyWithoutPlaintext": "asked by EC2 of its caller, for the disk",
    "lambda:InvokeFunction": "the cell is told by the command, after the session is open",
    "logs:AssociateKmsKey": "asked within the call that makes the group",
    "logs:TagResource": "asked within the call that makes the group",
    "ssm:AddTagsToResource": "asked within the call that makes the document",
    "ssm:StartSession": "by whoever takes the session, with AWS's own command",
}


def switch_logging_off(somebody: Any) -> None:
    unlogged = json.dumps({"schemaVersion": "1.0", "description": "x", "inputs": {}})
    name = plan.document_name(CELL)
    made = somebody.update_document(Name=name, Content=unlogged, DocumentVersion="$LATEST")
    version = made["DocumentDescription"]["DocumentVersion"]
    somebody.update_document_default_version(Name=name, DocumentVersion=version)


def test_breaking_the_glass_takes_what_its_policy_grants_and_nothing_else(scene: Scene) -> None:
    used: set[str] = set()

    def note(model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        used.add(action_of(f"{service}.amazonaws.com", model.name))

    for service in (*SERVICES, "sts", "kms"):
        scene.account.client(service).meta.events.register(f"before-call.{service}", note)
    scene.open()
    switch_logging_off(Boto().client("ssm", region_name="eu-west-1"))
    scene.clock.advance(1)
    second = scene.open(another=True)
    for one, _ in scene.glass.sessions(CELL):
        scene.glass.close(one.id)
    assert scene.glass.close(second.id)
    assert used >= {"ssm:DeleteDocument", "ssm:GetDocument"}
    args, _ = complete({"name": CELL, "account": "123456789012", "region": "eu-west-1"})
    granted = set(allowed(grants(args), "breakglass"))
    replaced = {"eks:DescribeCluster", "ssm:GetParameter"}  # by the scene, and never sent
    assert used - {"sts:GetCallerIdentity"} <= granted
    assert granted - used - replaced <= set(UNASKED) | {"ec2:DescribeVpcEndpoints"}


def test_a_cell_that_is_destroyed_takes_its_sessions_and_their_log_along(scene: Scene) -> None:
    scene.open()
    scene.glass.end_all(CELL, logs=f"/byoc/{CELL}/breakglass")
    assert look(scene.account, CELL) == []


# --- killed anywhere ------------------------------------------------------------------------------------


def killing(account: Account, at: int) -> Callable[[], int]:
    """Let the process end when the ``at``-th change was made and before it hears so; tells how many came.

    An end before the first change leaves nothing, one before the next change what the one before left, and
    a look in between changes nothing: so the end after each change stands for every moment.
    """
    count = 0

    def hook(model: Any, **_: Any) -> None:
        nonlocal count
        if model.name.startswith(("Describe", "List", "Get", "Head")):
            return
        count += 1
        if count == at:
            raise Killed

    for service in SERVICES:
        account.client(service).meta.events.register(f"after-call.{service}", hook)
    return lambda: count


@pytest.fixture
def fresh() -> Iterator[Callable[[], Scene]]:
    """Accounts, one after the other."""
    mocks: list[Any] = []
    undo = honour_conditions()

    def make() -> Scene:
        for mock in mocks:
            mock.stop()
        mocks[:] = [mock_aws()]
        mocks[0].start()
        return Scene(Account(Boto(), "eu-west-1"))

    yield make
    for mock in mocks:
        mock.stop()
    undo()


def runs(fresh: Callable[[], Scene], prepare: Any, act: Any) -> Iterator[Scene]:
    """Run ``act`` as often as it changes something, killed at each change in turn."""
    at = 0
    while True:
        at += 1
        scene = fresh()
        given = prepare(scene)
        count = killing(scene.account, at)
        try:
            act(scene, given)
        except Killed:
            # Whoever goes on is another process.
            again = Account(Boto(), "eu-west-1")
            for service in ("ssm", "eks"):
                again._clients[service] = scene.account.client(service)
            scene.account = again
            yield scene
            continue
        assert count() < at
        assert at > 5
        return


@pytest.mark.timeout(900)  # an account for each of some twenty changes
def test_an_open_that_was_killed_at_any_call_is_finished_by_the_next(fresh: Callable[[], Scene]) -> None:
    for scene in runs(fresh, lambda _: None, lambda scene, _: scene.open()):
        session = scene.open(another=State.OPEN in scene.states())
        living = [one for one, its in scene.glass.sessions(CELL) if its is State.OPEN]
        assert session in living
        assert len(unmake.machines(scene.account, CELL)) == len(living)
        for one in living:
            scene.glass.close(one.id)
        assert (scene.left(), scene.doors()) == ([], [])


@pytest.mark.timeout(900)  # an account for each of some twenty changes
def test_a_close_that_was_killed_at_any_call_is_finished_by_the_next(fresh: Callable[[], Scene]) -> None:
    for scene in runs(fresh, lambda scene: scene.open(), lambda scene, one: scene.glass.close(one.id)):
        (session, _) = scene.glass.sessions(CELL)[0]
        scene.glass.close(session.id)
        assert (scene.left(), scene.doors(), scene.states()) == ([], [], [State.CLOSED])
