"""A whole cell is made by somebody who may do what was derived and nothing else, as IAM is emulated.

The emulation enforces actions; it knows neither the resources nor the conditions of a policy, which are
tried elsewhere with an evaluator, and asks nobody for what only reads. What it never asks for, though AWS
does, is listed below with its reason: that list is what a run on AWS has to prove.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from boto3 import Session
from botocore.credentials import Credentials
from moto import settings
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionAuthenticatorMixin
from moto.iam import access_control
from moto.iam.models import iam_backends
from werkzeug.exceptions import HTTPException

from byoc.bootstrap import state
from byoc.bootstrap.aws import Account as Customer
from byoc.cell.grants import allowed, grants
from byoc.cell.permissions import needed, needed_for_state
from byoc.cell.program import program
from byoc.errors import Forbidden
from tests.emulated.account import Account, serving
from tests.emulated.handlers.handler import ACCOUNT, Aws, Refused
from tests.emulated.stack import Stack
from tests.unit.cell.definitions import action as definition
from tests.unit.cell.examples import EXAMPLES, REGION

pytestmark = pytest.mark.filterwarnings("ignore:aws.*has been deprecated:DeprecationWarning")

ARGS = EXAMPLES["unlimited"]
"""With everything that a cell of byoc's own making can have."""
NAME = "somebody"
DENIED = r"(?i)denied|not authorized"
READS = ("*:Describe*", "*:Get*", "*:List*", "s3:HeadBucket")
"""Of everything: the emulated provider looks at more than the real one does."""
UNASKED = {
    "ec2:RunInstances": "asked by EKS of its caller",
    "iam:CreateServiceLinkedRole": "asked within the first use of a service",
    "iam:PassRole": "asked within a call that hands a role over",
    "iam:TagOpenIDConnectProvider": "asked within the call that makes it",
    "iam:TagPolicy": "asked within the call that makes it",
    "iam:TagRole": "asked within the call that makes it",
    "eks:TagResource": "asked within the call that makes it",
    "kms:TagResource": "asked within the call that makes it",
    "kms:PutKeyPolicy": "asked within the call that makes it",
    "lambda:TagResource": "asked within the call that makes it",
    "lambda:InvokeFunction": "the emulation runs no functions",
    "logs:TagResource": "asked within the call that makes it",
    "logs:AssociateKmsKey": "asked within the call that makes it",
    "logs:CreateLogDelivery": "asked within the call that makes a flow log",
    "route53:AssociateVPCWithHostedZone": "asked within the call that makes it",
    "kms:CreateGrant": "asked by EKS and Lambda of their caller",
    "kms:Decrypt": "asked by Lambda and S3 of their caller",
    "kms:Encrypt": "asked by Lambda of its caller",
    "kms:GenerateDataKey": "asked by Lambda and S3 of their caller",
    "s3:PutBucketObjectLockConfiguration": "the emulation asks for the right to make the bucket",
    "s3:PutBucketOwnershipControls": "the emulation asks for the right to make the bucket",
    "s3:PutBucketPublicAccessBlock": "the emulation asks for the right to make the bucket",
    "s3:PutEncryptionConfiguration": "the emulation asks for the right to make the bucket",
    "s3:TagResource": "the emulation has the older call for tags only",
    "ec2:ModifySubnetAttribute": "the program sets nothing that a new subnet has not",
    "ec2:RevokeSecurityGroupIngress": "the emulated default group comes empty",
}
FIRST = (
    "kms:CreateKey", "iam:CreateRole", "iam:PutRolePolicy", "ec2:CreateVpc", "ec2:CreateNatGateway",
    "s3:PutBucketPolicy", "eks:CreateCluster", "eks:CreateNodegroup", "lambda:CreateFunction",
)  # fmt: skip
"""One of each part of a cell, whose lack ends a run of its own."""


KEEPING = (
    "kms:CreateKey", "kms:EnableKeyRotation", "kms:CreateAlias", "s3:CreateBucket",
    "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:PutBucketTagging", "s3:PutBucketPolicy",
    "s3:PutObject", "s3:DeleteObject",
)  # fmt: skip
"""What changes for the engine's state, in the order in which bootstrap does it."""
UNASKED_OF_THE_STATE = {
    "kms:TagResource": "asked within the call that makes it",
    "kms:Decrypt": "asked by S3 and by the engine of its caller",
    "kms:Encrypt": "asked by the engine of its caller",
    "kms:GenerateDataKey": "asked by S3 of its caller",
    "s3:PutBucketPublicAccessBlock": "the emulation asks for the right to make the bucket",
    "s3:PutEncryptionConfiguration": "the emulation asks for the right to make the bucket",
}


def changes(action: str) -> bool:
    known = definition(action)
    if known is None:  # as the emulation calls it, not IAM
        return not action.partition(":")[2].startswith(("Describe", "Get", "Head", "List"))
    return known["access_level"] not in {"List", "Read"}


def making() -> set[str]:
    """What the policies that make a cell allow besides looking, and creating a cell takes."""
    creating = set(needed(ARGS, ("create",), state=False))
    return {each for each in allowed(grants(ARGS), "bootstrap") if changes(each)} & creating


@pytest.fixture(scope="module")
def emulation() -> Iterator[Account]:
    with serving() as account:
        yield account


class Guard:
    """What somebody may do in the account, and what the account refused them."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.asked: set[str] = set()

    def allow(self, actions: Sequence[str]) -> None:
        statement = {"Effect": "Allow", "Action": [*READS, *actions], "Resource": "*"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        iam_backends[ACCOUNT]["aws"].put_user_policy(NAME, "all", json.dumps(document))


@pytest.fixture
def aws(emulation: Account) -> Aws:
    """An empty account, called by somebody who has no rights yet."""
    emulation.reset()
    aws = emulation.aws(REGION, invoke=lambda _function, _payload: {})
    aws("iam").create_user(UserName=NAME)
    key = aws("iam").create_access_key(UserName=NAME)["AccessKey"]
    for service in ("autoscaling", "ec2", "eks", "iam", "kms", "lambda", "logs", "route53", "s3"):
        signer: Any = aws(service)._request_signer
        signer._credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    return aws


@pytest.fixture
def customer(aws: Aws, emulation: Account, monkeypatch: pytest.MonkeyPatch) -> Customer:
    """The same somebody, as bootstrap's own calls are made: they keep the engine's state and the record."""
    signer: Any = aws("s3")._request_signer
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulation.endpoint)
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    key = signer._credentials
    session = Session(aws_access_key_id=key.access_key, aws_secret_access_key=key.secret_key)
    made = Customer(session, REGION)
    assert made.identity.arn.endswith(f"user/{NAME}")
    return made


@pytest.fixture
def guard(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Let the account judge every call from here on."""
    assert aws
    guard, judged = Guard(), access_control.IAMRequestBase.check_action_permitted

    def judge(request: Any, resource: str) -> None:
        guard.asked.add(request._action)
        try:
            judged(request, resource)
        except Exception:
            guard.refused.append(request._action)
            raise

    base: Any = access_control.IAMRequestBase
    monkeypatch.setattr(base, "check_action_permitted", judge)
    # Paths with names in them are not signed as the emulation reads them.
    monkeypatch.setattr(base, "check_signature", lambda _: None)
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    monkeypatch.setattr(ActionAuthenticatorMixin, "request_count", 0)
    return guard


def keep(customer: Customer) -> None:
    state.make(customer)
    objects = state.backend(customer).objects
    objects.write("record", b"{}")
    objects.delete("record")


def test_the_state_is_kept_with_what_was_derived(customer: Customer, guard: Guard) -> None:
    derived = {each for each in needed_for_state() if changes(each)}
    assert derived <= set(allowed(grants(ARGS), "bootstrap"))
    guard.allow(sorted(derived))
    keep(customer)
    assert guard.refused == []
    assert {action for action in guard.asked if changes(action)} == set(KEEPING)
    assert derived - set(KEEPING) == set(UNASKED_OF_THE_STATE)


@pytest.mark.parametrize("action", KEEPING)
def test_without_one_action_the_state_is_not_kept_and_the_action_is_named(
    customer: Customer, guard: Guard, action: str
) -> None:
    guard.allow([each for each in KEEPING if each != action])
    with pytest.raises(Forbidden, match=f"{action}\\b"):
        keep(customer)
    assert set(guard.refused) == {action}


def test_a_cell_is_made_with_what_was_derived(aws: Aws, guard: Guard) -> None:
    guard.allow(sorted(making()))
    stack = Stack(aws)
    made = stack.up(program(ARGS))
    assert made.count("create") > 100
    assert guard.refused == []
    assert stack.preview(program(ARGS)).changes == []
    asked = {action for action in guard.asked if changes(action)}
    # Whatever is not asked for here is named above, so that nothing is granted without a reason.
    assert making() - asked == set(UNASKED) & making()
    assert set(UNASKED) <= making()


def test_each_change_is_refused_without_its_own_action(
    aws: Aws, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each action is granted only once its lack has been felt: so not one of them is for nothing."""
    granted: list[str] = []
    passed: list[str] = []
    judged: Callable[[Any, str], None] = access_control.IAMRequestBase.check_action_permitted

    def judge(request: Any, resource: str) -> None:
        action = request._action
        if changes(action) and action not in granted:
            with suppress(HTTPException, ServiceException):
                judged(request, resource)
                passed.append(action)
            granted.append(action)
            guard.allow(granted)
        judged(request, resource)

    guard.allow([])
    base: Any = access_control.IAMRequestBase
    monkeypatch.setattr(base, "check_action_permitted", judge)
    Stack(aws).up(program(ARGS))
    assert passed == []
    assert guard.refused == granted
    assert set(granted) == making() - set(UNASKED)


@pytest.mark.parametrize("action", FIRST)
def test_without_one_action_the_run_ends_there_and_names_it(aws: Aws, guard: Guard, action: str) -> None:
    guard.allow(sorted(making() - {action}))
    with pytest.raises(Refused, match=DENIED) as refusal:
        Stack(aws).up(program(ARGS))
    # What does not wait for it goes on beside it; S3 says no in its own words, which name nothing.
    assert set(guard.refused) == {action}
    assert action in str(refusal.value) or (
        action.startswith("s3:") and "Access Denied" in str(refusal.value)
    )
