"""Whether the engines' role that a customer made trusts the cell's own cluster: asked by bootstrap.

The cell makes that role where it makes all; a customer's can be right only once the cluster is there, whose
tokens it trusts. The invariant: what cannot be right is refused before anything is changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from byoc.bootstrap.aws import Account, code_of
from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.documents import outsiders, trusted
from byoc.cell.incluster import ENGINES_SUBJECTS, TOKENS_FOR
from byoc.model.check import Check, Result

_NAME: Final = "engines' role"
_ABSENT: Final = frozenset({"NoSuchEntity", "NoSuchEntityException"})
_NO_CLUSTER: Final = "ResourceNotFoundException"


def check_engines_role(account: Account, args: CellArgs) -> Iterator[Check]:
    """Say whether a given role lets the engines of this cell use its bucket; nothing where none is given."""
    if args.roles is None or not args.unlimited:
        return
    try:
        issuer = _issuer(account, args)
        yield _judged(args, issuer, _trust(account, args), vouched=_vouched(account, args, issuer))
    except (ClientError, BotoCoreError) as error:
        why = code_of(error) if isinstance(error, ClientError) else "no answer"
        yield Check(_NAME, Result.UNKNOWN, f"AWS does not tell of {args.roles.engine}: {why}")


def _judged(args: CellArgs, issuer: str, trust: Mapping[str, Any] | None, *, vouched: bool) -> Check:
    arn = arns.role_arn(args, "engine")
    if not issuer:
        return Check(
            _NAME,
            Result.FAIL,
            f"{arn} cannot trust the cluster yet: there is none",
            "leave `engine` out of the roles; name it, and bootstrap again, once the cluster is there",
        )
    provider = arns.provider_arn(args, issuer)
    if trust is None:
        hint = f"make it; `byoc cell permissions` prints it, and the provider it trusts is {provider}"
        return Check(_NAME, Result.FAIL, f"{arn} is not there", hint)
    if not vouched:
        make = "aws iam create-open-id-connect-provider"
        hint = f"{make} --url https://{issuer} --client-id-list {TOKENS_FOR}"
        return Check(_NAME, Result.FAIL, f"IAM has no provider of identities for {issuer}", hint)
    if provider not in trusted(trust):
        hint = f"its trust policy must name {provider}; `byoc cell permissions` prints the rest"
        return Check(_NAME, Result.FAIL, f"{arn} does not trust this cell's cluster", hint)
    wrong = next(outsiders(trust, args.facts.account, (issuer,)), "")
    if wrong:
        hint = (
            f"`byoc cell permissions` prints its trust policy: tokens of {provider} alone, where `aud` is "
            f"{TOKENS_FOR} and `sub` is like {ENGINES_SUBJECTS}"
        )
        return Check(_NAME, Result.FAIL, f"{arn} {wrong}", hint)
    return Check(_NAME, Result.PASS, f"{arn} trusts {provider}")


def _issuer(account: Account, args: CellArgs) -> str:
    """Return who makes the cluster's tokens; empty where there is no cluster."""
    try:
        found = account.client("eks").describe_cluster(name=arns.cluster_name(args))["cluster"]
    except ClientError as error:
        if code_of(error) == _NO_CLUSTER:
            return ""
        raise
    return str(found["identity"]["oidc"]["issuer"]).removeprefix("https://")


def _trust(account: Account, args: CellArgs) -> Mapping[str, Any] | None:
    try:
        found = account.client("iam").get_role(RoleName=arns.role_name(args, "engine"))["Role"]
    except ClientError as error:
        if code_of(error) in _ABSENT:
            return None
        raise
    document: Mapping[str, Any] = found["AssumeRolePolicyDocument"]
    return document


def _vouched(account: Account, args: CellArgs, issuer: str) -> bool:
    found = account.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return arns.provider_arn(args, issuer) in {str(one["Arn"]) for one in found}
