"""One table: type of a resource to the handler that knows it. Importing this fills it."""

from tests.emulated.handlers import (
    ec2_endpoints,
    ec2_machines,
    ec2_network,
    ec2_security,
    eks,
    eks_access,
    functions,
    iam,
    kms,
    logs,
    route53,
    s3,
    ssm,
)
from tests.emulated.handlers.handler import REGISTRY, Aws, Handler, Refused

__all__ = [
    "REGISTRY",
    "Aws",
    "Handler",
    "Refused",
    "ec2_endpoints",
    "ec2_machines",
    "ec2_network",
    "ec2_security",
    "eks",
    "eks_access",
    "functions",
    "handler",
    "iam",
    "kms",
    "logs",
    "route53",
    "s3",
    "ssm",
]


def handler(token: str) -> Handler:
    """The handler of a type.

    Raises:
        Refused: there is none.
    """
    try:
        return REGISTRY[token]
    except KeyError:
        raise Refused("UnknownType", f"{token} is not emulated: write a handler for it") from None
