"""How engines become known to AWS: the cluster as a provider of identities, and the one role that takes them.

Made by the root component after the cluster, and only where engines keep databases in the cell's bucket.
The invariant: the provider is this account's and this cluster's own, and one role trusts it, for the nodes of
workspaces alone.
"""

from typing import Final

import pulumi
import pulumi_aws as aws

from byoc.cell import policies
from byoc.cell.args import CellArgs
from byoc.cell.cluster import Cluster
from byoc.cell.identity import Identity, own_policy, role
from byoc.cell.incluster import TOKENS_FOR
from byoc.cell.part import Part

_SCHEME: Final = "https://"


class Federation(Part):
    """The provider and the engines' role.

    Args:
        key_arn: the cell's key.

    Attributes:
        ready: there when a node may use its part of the bucket.
    """

    def __init__(
        self,
        args: CellArgs,
        cluster: Cluster,
        identity: Identity,
        key_arn: pulumi.Input[str],
        *,
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("Federation", args, parent=parent)
        issuer = cluster.issuer.apply(lambda address: address.removeprefix(_SCHEME))
        provider = self._make_provider(cluster)
        made = role(
            self,
            "engine",
            trust=issuer.apply(lambda known: policies.trust(args, "engine", issuer=known).text()),
            boundary_arn=identity.boundary_arn,
            after=(provider,),
        )
        text = pulumi.Output.all(key_arn, issuer).apply(
            lambda known: policies.engine(args, str(known[0]), str(known[1])).text()
        )
        self.ready: tuple[pulumi.Resource, ...] = (own_policy(self, "engine", made.name, text),)
        self.register_outputs({"providerArn": provider.arn, "role": made.arn})

    def _make_provider(self, cluster: Cluster) -> aws.iam.OpenIdConnectProvider:
        name = "tokens"
        return aws.iam.OpenIdConnectProvider(
            name,
            url=cluster.issuer,
            client_id_lists=[TOKENS_FOR],
            tags=self.tags(name),
            opts=self.options(name),
        )
