import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from moto.iam.policy_validation import IAMPolicyDocumentValidator

from byoc.cell import arns, breaking, grants
from byoc.cell.args import CellArgs, GivenVpc
from byoc.cell.grants import MODES, Grant
from byoc.cell.permissions import needed, needed_for_state
from byoc.cell.statements import POLICY_LIMIT, Statement
from byoc.errors import Failed
from tests.unit.cell import definitions
from tests.unit.cell import grants_golden as golden
from tests.unit.cell.evaluator import Request, may
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, FACTS, REGION, cell

CELLS = {**EXAMPLES, **{mode: golden.args(mode) for mode in MODES}}
EACH = pytest.mark.parametrize("args", CELLS.values(), ids=CELLS)
OURS = {"aws:ResourceTag/byoc:cell": "main"}
MADE = {"aws:RequestTag/byoc:cell": "main"}
ANOTHERS = {"aws:ResourceTag/byoc:cell": "other", "aws:RequestTag/byoc:cell": "other"}


def statements(args: CellArgs) -> Iterator[tuple[Grant, Statement]]:
    for grant in grants.grants(args):
        yield from ((grant, each) for each in grant.document.statements)


def can(action: str, resource: str = "*", *, deletes: bool = False, **context: Any) -> bool:
    """Whether somebody with the policies of the default cell may do something."""
    uses = ("bootstrap", "delete") if deletes else ("bootstrap",)
    documents = [each.document.plain() for each in grants.grants(cell()) if each.use in uses]
    return may(Request(action, resource, context.get("context", {})), documents)


def ec2(what: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:{what}"


# --- what the documents look like -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_policies_of_a_mode_read_as_they_did(mode: str) -> None:
    assert golden.file(mode).read_text(encoding="utf-8") == golden.text(mode), golden.HOW


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_known_by_what_is_given(mode: str) -> None:
    assert grants.mode(golden.args(mode)) == mode


@EACH
def test_every_policy_is_one_that_iam_takes(args: CellArgs) -> None:
    found = grants.grants(args)
    assert len({each.name for each in found}) == len(found)
    for use in grants.USES:
        assert len([each for each in found if each.use == use]) <= 10, "IAM attaches ten to a role"
    for each in found:
        assert len(each.document.text()) <= POLICY_LIMIT
        IAMPolicyDocumentValidator(each.document.text()).validate()


def test_the_longest_names_still_fit() -> None:
    facts = replace(
        FACTS, partition="aws-us-gov", region="us-gov-east-1", zones=tuple(f"us-gov-east-1{z}" for z in "abc")
    )
    for each in grants.grants(cell(name="a" * 24, facts=facts)):
        assert len(each.document.text()) <= POLICY_LIMIT


@EACH
def test_each_statement_has_a_name_and_a_reason(args: CellArgs) -> None:
    for grant in grants.grants(args):
        names = [each.sid for each in grant.document.statements]
        assert len(set(names)) == len(names), grant.name
    for grant, each in statements(args):
        assert re.fullmatch("[A-Za-z0-9]+", each.sid), grant.name
        assert each.why
        assert each.effect == "Allow"


@EACH
def test_what_is_granted_is_what_is_needed(args: CellArgs) -> None:
    found = grants.grants(args)
    making = grants.allowed(found, "bootstrap")
    assert set(making) == set(needed(args))
    deleting = set(grants.allowed(found, "delete"))
    assert deleting == set(needed(args, ("delete",), state=False)) - set(needed(args, state=False))
    state = next(each for each in found if each.name.endswith("-state"))
    assert state.actions <= set(needed_for_state())


def test_an_action_that_nobody_limited_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = needed(cell())
    monkeypatch.setattr(grants, "needed", lambda *_, **__: (*wanted, "sns:CreateTopic"))
    with pytest.raises(Failed, match="sns:CreateTopic"):
        grants.grants(cell())


# --- whether AWS knows what they say --------------------------------------------------------------------


@EACH
def test_aws_knows_every_action_on_its_resource_under_its_conditions(args: CellArgs) -> None:
    for grant, statement in statements(args):
        where = (grant.name, statement.sid)
        used: set[str] = set()
        for action in statement.actions:
            kinds = definitions.kinds(action)
            matched = [
                (kind, resource)
                for resource in statement.resources
                for kind in (
                    kinds
                    if resource == "*" or resource.endswith(ANY)
                    else definitions.matched(action, resource.replace(*AWSS_OWN))
                )
            ]
            assert matched, (where, action)
            used |= {resource for _, resource in matched}
            asked = [key for keys in statement.conditions.values() for key in keys]
            fits = [
                all(definitions.takes((*definitions.keys(action, kind), *EVERYWHERE.get(about, ())), key)
                    for key in asked)
                for kind, _ in matched
                for about in [kind if kind in EVERYWHERE else action.partition(":")[0]]
            ]  # fmt: skip
            assert any(fits), (where, action)
        assert used == set(statement.resources), where


ANY = (":*/*", ":*:*")
"""How a resource ends that stands for every kind of thing of a service."""
AWSS_OWN = ("::parameter/", ":aws:parameter/")
"""The parameters that AWS publishes are in no account."""
EVERYWHERE = {"kms": ("aws:ResourceTag/${TagKey}",), "oidc-provider": ("aws:ResourceTag/${TagKey}",)}
"""Keys that are known for every action, which AWS's reference says of the service or of the kind of thing
(KMS developer guide, "ABAC for AWS KMS"; IAM user guide, "Controlling access using tags")."""


@EACH
def test_only_what_aws_ties_to_no_resource_is_allowed_on_everything(args: CellArgs) -> None:
    for grant, statement in statements(args):
        assert not any("*" in action for action in statement.actions), grant.name
        if statement.resources != ("*",):
            assert "*" not in statement.resources
            continue
        for action in statement.actions:
            known = definitions.action(action)
            assert known is not None
            reads = known["access_level"] in {"List", "Read"}
            assert reads or set(definitions.kinds(action)) == {""}, (grant.name, action)


@EACH
def test_what_is_made_is_tagged_where_aws_lets_it_be(args: CellArgs) -> None:
    for grant, statement in statements(args):
        for action in statement.actions:
            verb = action.partition(":")[2]
            if not verb.startswith(("Create", "Allocate")) or action in BY_NAME:
                continue
            takes = any(
                definitions.takes(tuple(facts["condition_keys"]), "aws:RequestTag/byoc:cell")
                for facts in definitions.kinds(action).values()
            )
            keys = {key for each in statement.conditions.values() for key in each}
            if takes:
                limits = ("aws:RequestTag/byoc:", "aws:ResourceTag/", "iam:PermissionsBoundary")
                limited = any(key.startswith(limits) for key in keys)
                theirs = isinstance(args.network, GivenVpc) and statement.sid in YOURS
                assert limited or theirs, (grant.name, action)


YOURS = {"WithinYours", "InVpc", "InSubnet"}
"""Statements that name what the customer has: it carries no tag of the cell."""


BY_NAME = {"s3:CreateBucket", "iam:CreatePolicy", "autoscaling:CreateOrUpdateTags", "ec2:CreateTags"}
"""Made under one exact name; or tagging itself, which another test is about."""


# --- what somebody with them can and cannot do ----------------------------------------------------------


def test_a_thing_is_made_with_the_cells_tag_only() -> None:
    assert can("ec2:CreateVpc", ec2("vpc/vpc-1"), context=MADE)
    assert not can("ec2:CreateVpc", ec2("vpc/vpc-1"))
    assert not can("ec2:CreateVpc", ec2("vpc/vpc-1"), context=ANOTHERS)
    assert can("eks:CreateCluster", "*", context=MADE)
    assert not can("eks:CreateCluster", "*")
    assert can("kms:CreateKey", "*", context=MADE)
    assert not can("kms:CreateKey", "*")


def test_what_is_anothers_is_not_changed() -> None:
    for action, what in (("ec2:CreateRoute", "route-table/rtb-1"), ("ec2:ModifyVpcAttribute", "vpc/vpc-1")):
        assert can(action, ec2(what), context=OURS)
        assert not can(action, ec2(what))
        assert not can(action, ec2(what), context=ANOTHERS)


def test_nothing_is_made_within_what_is_anothers() -> None:
    assert can("ec2:CreateSubnet", ec2("vpc/vpc-1"), context=OURS)
    assert not can("ec2:CreateSubnet", ec2("vpc/vpc-1"), context=MADE)


def test_a_thing_that_is_there_cannot_be_made_the_cells_by_a_tag() -> None:
    assert can("ec2:CreateTags", ec2("vpc/vpc-1"), context=MADE | {"ec2:CreateAction": "CreateVpc"})
    assert not can("ec2:CreateTags", ec2("vpc/vpc-1"), context=MADE)
    assert not can("ec2:CreateTags", ec2("instance/i-1"), context=MADE)
    logical = {"aws:RequestTag/byoc:logical-name": "default"}
    assert can("ec2:CreateTags", ec2("security-group/sg-1"), context=MADE | logical)
    assert not can("ec2:CreateTags", ec2("security-group/sg-1"), context=MADE)


def test_no_role_is_made_without_the_boundary() -> None:
    mine = arns.role_arn(cell(), "agent")
    below = {"iam:PermissionsBoundary": arns.boundary_arn(cell())}
    for action in ("iam:CreateRole", "iam:PutRolePolicy"):
        assert can(action, mine, context=below)
        assert not can(action, mine)
        assert not can(
            action, mine, context={"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}
        )
        assert not can(action, f"arn:aws:iam::{ACCOUNT}:role/admin", context=below)


def test_a_role_gets_no_policy_of_awss_but_those_eks_asks_for() -> None:
    mine, below = arns.role_arn(cell(), "node"), {"iam:PermissionsBoundary": arns.boundary_arn(cell())}
    policy = "arn:aws:iam::aws:policy/"
    assert can(
        "iam:AttachRolePolicy", mine, context=below | {"iam:PolicyARN": f"{policy}AmazonEKSWorkerNodePolicy"}
    )
    assert not can(
        "iam:AttachRolePolicy", mine, context=below | {"iam:PolicyARN": f"{policy}AdministratorAccess"}
    )


def test_a_cell_vouches_for_clusters_and_nobody_else() -> None:
    documents = [each.document.plain() for each in grants.grants(EXAMPLES["unlimited"])]
    made = [each.document.plain() for each in grants.grants(EXAMPLES["unlimited"]) if each.use == "bootstrap"]
    cluster = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.{REGION}.amazonaws.com/id/ABC"
    others = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
    make, change = "iam:CreateOpenIDConnectProvider", "iam:UntagOpenIDConnectProvider"
    end = "iam:DeleteOpenIDConnectProvider"
    assert may(Request(make, cluster, MADE), made)
    assert not may(Request(make, cluster), made)
    assert may(Request(change, cluster, OURS), made)
    assert not may(Request(change, cluster, ANOTHERS), made)
    assert may(Request(end, cluster, OURS), documents)
    assert not may(Request(end, cluster, OURS), made)
    for action in (make, change, end, "iam:TagOpenIDConnectProvider"):
        assert not may(Request(action, others, MADE | OURS), documents), action
        assert not can(action, cluster, deletes=True, context=MADE | OURS), "a cell without engines' role"


def test_what_is_another_cells_cannot_be_made_the_cells_by_a_tag() -> None:
    args = EXAMPLES["unlimited"]
    documents = [each.document.plain() for each in grants.grants(args)]
    cluster = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.{REGION}.amazonaws.com/id/ABC"
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
    state = {"aws:RequestTag/byoc:state": "key"}
    for action, thing in (("iam:TagOpenIDConnectProvider", cluster), ("kms:TagResource", key)):
        assert may(Request(action, thing, MADE), documents)
        assert may(Request(action, thing, MADE | OURS), documents)
        assert not may(Request(action, thing, MADE | ANOTHERS), documents)
    assert may(Request("kms:TagResource", key, state), documents)
    assert not may(Request("kms:TagResource", key, state | ANOTHERS), documents)


def test_nobody_changes_for_whom_a_provider_vouches_or_how_it_is_known() -> None:
    granted = {action for each in grants.grants(EXAMPLES["unlimited"]) for action in each.actions}
    assert "iam:CreateOpenIDConnectProvider" in granted
    assert not [each for each in granted if "ClientID" in each or "Thumbprint" in each]


def test_a_role_is_handed_to_services_of_awss_only() -> None:
    mine = arns.role_arn(cell(), "cluster")
    assert can("iam:PassRole", mine, context={"iam:PassedToService": "eks.amazonaws.com"})
    assert not can("iam:PassRole", mine, context={"iam:PassedToService": "cloudformation.amazonaws.com"})
    assert not can("iam:PassRole", mine)


def test_a_cell_whose_name_begins_alike_is_out_of_reach() -> None:
    other = cell(name="main-eu")
    assert not can("iam:UpdateAssumeRolePolicy", arns.role_arn(other, "agent"))
    assert not can("lambda:InvokeFunction", arns.function_arn(other, "installer"))
    assert not can("eks:UpdateClusterConfig", arns.cluster_arn(other))
    assert not can("s3:PutBucketPolicy", arns.bucket_arn(other, "data"))
    assert not can("logs:PutRetentionPolicy", arns.log_group_arn(other, "flow"))
    assert can("eks:UpdateClusterConfig", arns.cluster_arn(cell()))


def test_who_makes_a_cell_cannot_delete_it() -> None:
    for action, resource in (
        ("ec2:DeleteVpc", ec2("vpc/vpc-1")),
        ("eks:DeleteCluster", arns.cluster_arn(cell())),
        ("s3:DeleteObject", f"{arns.bucket_arn(cell(), 'data')}/x"),
        ("kms:ScheduleKeyDeletion", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"),
        ("iam:DeleteRole", arns.role_arn(cell(), "agent")),
    ):
        assert not can(action, resource, context=OURS), action
        assert can(action, resource, deletes=True, context=OURS), action


def test_a_delete_reaches_nothing_of_anothers() -> None:
    for action, resource in (
        ("ec2:DeleteVpc", ec2("vpc/vpc-1")),
        ("ec2:DeleteVolume", ec2("volume/vol-1")),
        ("kms:ScheduleKeyDeletion", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"),
    ):
        assert not can(action, resource, deletes=True), action
        assert not can(action, resource, deletes=True, context=ANOTHERS), action


def test_who_breaks_the_glass_changes_nothing_of_the_cell() -> None:
    glass = [each for each in grants.grants(cell()) if each.use == "breakglass"]
    documents = [each.document.plain() for each in glass]
    assert may(Request("ec2:TerminateInstances", ec2("instance/i-1"), OURS), documents)
    assert not may(Request("ec2:TerminateInstances", ec2("instance/i-1"), ANOTHERS), documents)
    assert may(Request("ec2:RunInstances", ec2("instance/i-1"), MADE), documents)
    assert not may(Request("ec2:RunInstances", ec2("instance/i-1")), documents)
    assert not may(Request("ec2:RunInstances", ec2("subnet/subnet-1")), documents)
    for action in ("iam:PutRolePolicy", "iam:PassRole"):
        assert not may(Request(action, arns.role_arn(cell(), "agent")), documents)
    assert not {action for each in glass for action in each.actions if action.startswith("s3:Delete")}


def test_who_makes_or_destroys_a_cell_does_not_break_its_glass() -> None:
    role, _ = breaking.names(cell())
    limited = MADE | {"iam:PermissionsBoundary": arns.boundary_arn(cell())}
    for action, resource, context in (
        ("ssm:StartSession", ec2("instance/i-1"), OURS | {"ssm:resourceTag/byoc:cell": "main"}),
        ("ssm:StartSession", breaking.document(cell()), {}),
        ("iam:CreateRole", role.replace("*", "0123456789ab"), limited),
        ("iam:PassRole", role.replace("*", "0123456789ab"), {"iam:PassedToService": "ec2.amazonaws.com"}),
    ):
        assert not can(action, resource, deletes=True, context=context), action
        glass = [each.document.plain() for each in grants.grants(cell()) if each.use == "breakglass"]
        assert may(Request(action, resource, context), glass), action


def test_who_makes_or_destroys_a_cell_does_not_say_what_the_control_plane_may_do() -> None:
    invoke = "lambda:InvokeFunction"
    control, installer = (arns.function_arn(cell(), which) for which in ("control", "installer"))
    assert can(invoke, installer)
    assert not can(invoke, control, deletes=True, context=OURS)
    (papers,) = [each for each in grants.grants(cell()) if each.use == "control"]
    assert papers.actions == {invoke}
    assert may(Request(invoke, control), [papers.document.plain()])
    assert not may(Request(invoke, installer), [papers.document.plain()])


def test_the_customers_own_vpc_is_named_and_no_other() -> None:
    documents = [each.document.plain() for each in grants.grants(EXAMPLES["given"])]
    asked = "ec2:CreateSecurityGroup"
    assert may(Request(asked, ec2("vpc/vpc-1")), documents)
    assert not may(Request(asked, ec2("vpc/vpc-2")), documents)
    assert not may(Request("ec2:ModifyVpcAttribute", ec2("vpc/vpc-1")), documents)


# --- how bootstrap asks ---------------------------------------------------------------------------------


@EACH
def test_whoever_has_the_policies_is_told_so_when_asked(args: CellArgs) -> None:
    """A preflight asks AWS for each action as it will be used; with these policies the answer is yes."""
    documents = [each.document.plain() for each in grants.grants(args) if each.use == "bootstrap"]
    asked = grants.uses(args)
    assert set(asked) == set(needed(args))
    for action, use in asked.items():
        assert may(Request(action, use.resource, use.context), documents), action
