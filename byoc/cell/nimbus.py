"""The Nimbus client in the stack: its objects are brought into the cluster, and taken out before it goes.

Made by the root component, last of all. In the VPC, by calling the installer function through an
invocation resource; or directly, by pulumi-kubernetes, where the API can be reached. One builder of
manifests feeds both.

What an invocation resource is like, and what follows (hashicorp/terraform-provider-aws,
internal/service/lambda/invocation.go):

* another function name or qualifier, or any trigger, *replaces* it, and a replacement deletes, which
  uninstalls. So the name is fixed, the version is ``$LATEST`` and there are no triggers.
* Reading it does nothing: neither refresh nor import sees what is in the cluster. Drift is asked of the
  function itself.
* A call that was cut off leaves nothing behind but what it did: it is simply made again.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs, Delivery
from byoc.cell.function import Installer
from byoc.cell.installer.kinds import ORDER, kind_of
from byoc.cell.manifests import Bundle
from byoc.cell.part import Part

INVOCATION: Final = "invocation"
_OWN_ANNOTATIONS: Final = {
    # Bootstrap waits for the pods itself and says why they do not start.
    "pulumi.com/skipAwait": "true",
    "pulumi.com/patchForce": "true",
}


class Nimbus(Part):
    """The client's objects in the cluster.

    Args:
        bundle: the objects.
        installer: brings them in; None where they are delivered directly.
        cluster_endpoint: ``https://`` address of the cluster's API.
        cluster_authority: the API's certificate authority, PEM in base64.
        after: what must stand before: access entry, machines, add-ons, rules, routes, endpoints.

    Attributes:
        digest: of the bundle.
    """

    def __init__(
        self,
        args: CellArgs,
        bundle: Bundle,
        installer: Installer | None,
        *,
        cluster_endpoint: pulumi.Input[str],
        cluster_authority: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("Nimbus", args, parent=parent)
        self.digest = bundle.digest
        if args.delivery is Delivery.DIRECT:
            self._apply(bundle, kubeconfig(args, cluster_endpoint, cluster_authority), after)
        else:
            if installer is None:
                raise ValueError("objects come into a cluster without a public API by a function")
            self._invoke(bundle, installer, after)
        self.register_outputs({"bundleDigest": self.digest})

    def _invoke(self, bundle: Bundle, installer: Installer, after: Sequence[pulumi.Resource]) -> None:
        asked = {"op": "install", "bundle": bundle.digest, "cell": self.args.name}
        aws.lambda_.Invocation(
            INVOCATION,
            function_name=installer.function_name,
            input=json.dumps(asked, sort_keys=True),
            lifecycle_scope="CRUD",
            opts=self.options(
                INVOCATION, depends_on=(installer.function, *after), delete_before_replace=True
            ),
        )

    def _apply(self, bundle: Bundle, config: pulumi.Output[str], after: Sequence[pulumi.Resource]) -> None:
        import pulumi_kubernetes  # noqa: PLC0415 - only where the API can be reached

        provider = pulumi_kubernetes.Provider(
            "kubernetes",
            pulumi_kubernetes.ProviderArgs(kubeconfig=config, enable_server_side_apply=True),
            opts=self.options("kubernetes", depends_on=after),
        )
        before: list[pulumi.Resource] = []
        for kind in ORDER:
            made: list[pulumi.Resource] = []
            for manifest in (each for each in _told(bundle) if kind_of(each) is kind):
                name = f"{kind.name.lower()}-{manifest['metadata']['name']}"
                options = self.options(name, depends_on=(*after, *before))
                own = pulumi.ResourceOptions(provider=provider, version=version("pulumi-kubernetes"))
                made.append(_Object(name, manifest, pulumi.ResourceOptions.merge(options, own)))
            before = made or before


def _told(bundle: Bundle) -> tuple[Mapping[str, Any], ...]:
    """Return the objects that the engine may know, whose state keeps all that it reads of them.

    So no Secret is one of them: what the cell's agents keep in theirs, keys above all, is the cell's alone.
    """
    return tuple(each for each in bundle.objects if each["kind"] != "Secret")


class _Object(pulumi.CustomResource):
    """One object of the bundle, as the typed classes of pulumi-kubernetes would register it."""

    def __init__(self, name: str, manifest: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        api = manifest["apiVersion"] if "/" in manifest["apiVersion"] else f"core/{manifest['apiVersion']}"
        metadata = manifest["metadata"]
        annotated = metadata | {"annotations": {**metadata.get("annotations", {}), **_OWN_ANNOTATIONS}}
        super().__init__(
            f"kubernetes:{api}:{manifest['kind']}", name, {**manifest, "metadata": annotated}, options
        )


def kubeconfig(
    args: CellArgs, endpoint: pulumi.Input[str], authority: pulumi.Input[str]
) -> pulumi.Output[str]:
    """Return a configuration that holds no secret: who connects asks AWS for a token of a few minutes."""
    cluster = arns.cluster_name(args)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["eks", "get-token", "--cluster-name", cluster, "--region", args.facts.region],
    }

    def text(known: Sequence[str]) -> str:
        server = {"server": known[0], "certificate-authority-data": known[1]}
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": server}],
            "users": [{"name": cluster, "user": {"exec": command}}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
            "current-context": cluster,
        }
        return json.dumps(value, sort_keys=True)

    return pulumi.Output.all(endpoint, authority).apply(text)
