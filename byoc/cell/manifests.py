"""Everything of ours that stands in a cell's cluster, as one bundle of Kubernetes objects. Pure.

Read by the installer's package and, where the API can be reached, by pulumi-kubernetes: one builder
feeds both. The invariants: the same arguments give the same bytes; the digest stands for every byte;
nothing secret is in it.
"""

import tomllib
from dataclasses import dataclass
from typing import Any, Final

from byoc.cell.admission import admission
from byoc.cell.args import CellArgs, Gateway
from byoc.cell.arns import bucket_name, domain, key_alias, role_arn
from byoc.cell.egress import network_policies
from byoc.cell.incluster import (
    AGENT,
    BUNDLE_LABEL,
    BUNDLE_VALUE,
    CONFIG,
    ENROLMENT,
    KEYS,
    NAMESPACE,
    PAPERS,
    POLICY,
    STORAGE_CLASS,
)
from byoc.cell.installer.kinds import in_order
from byoc.cell.naming import CELL_TAG, LOGICAL_NAME_TAG
from byoc.cell.priority import priority
from byoc.cell.rights import rights
from byoc.cell.workloads import CONFIG_FOLDER, PAPERS_FOLDER, POLICY_FOLDER, TOKEN_FOLDER, agents, autoscalers
from byoc.errors import UsageError
from byoc.wire.canonical import canonical, digest, sha256

Json = dict[str, Any]
ENROLMENT_FILE: Final = "enrolment.json"
POLICY_FILE: Final = "policy.toml"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The objects of one cell, in the order in which they are applied.

    Attributes:
        text: canonical JSON of the objects.
        digest: SHA-256 of ``text``, 64 hexadecimal digits.
    """

    objects: tuple[Json, ...]
    text: str
    digest: str


def bundle(args: CellArgs) -> Bundle:
    """Return what is installed in the cluster of the cell that ``args`` describes.

    Raises:
        UsageError: the customer's policy is no TOML, or no autoscaler fits the version of Kubernetes.
    """
    runtime = {"domain": domain(args), **args.engine.runtime(), **_unlimited(args)}
    config = config_of(args.gateway, runtime, bucket_name(args, "ledger"))
    objects = [
        namespace_of(args.facts.kubernetes),
        _storage_class(args),
        *priority(),
        *admission(),
        *network_policies(args),
        *rights(),
        *config,
        policy_of(args.policy),
        *shown_and_kept(),
        *agents(args, digest([each["data"] for each in config]), region=args.facts.region),
        *autoscalers(args),
    ]
    return put_together(objects)


def _unlimited(args: CellArgs) -> Json:
    """Return where engines keep databases, and as whom; nothing where they keep them on volumes."""
    if not args.unlimited:
        return {}
    return {
        "bucket": bucket_name(args, "data"),
        "region": args.facts.region,
        "role": role_arn(args, "engine"),
    }


def put_together(objects: list[Json]) -> Bundle:
    """Return the bundle of ``objects``: labelled, in order, with its digest."""
    ordered = in_order([_labelled(each) for each in objects])
    text = canonical(ordered)
    return Bundle(tuple(ordered), text.decode(), sha256(text))


def _labelled(manifest: Json) -> Json:
    metadata = manifest["metadata"]
    own = {"app.kubernetes.io/part-of": "byoc", BUNDLE_LABEL: BUNDLE_VALUE}
    return manifest | {"metadata": metadata | {"labels": metadata.get("labels", {}) | own}}


def namespace_of(kubernetes: str) -> Json:
    """Return the agents' namespace, under the restricted standard of one minor version of Kubernetes."""
    security = {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", f"v{kubernetes}"))
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": security}}


def _storage_class(args: CellArgs) -> Json:
    facts = args.facts
    ours = f"arn:{facts.partition}:kms:{facts.region}:{facts.account}:{key_alias(args)}"
    tags = {**args.tags, CELL_TAG: args.name, LOGICAL_NAME_TAG: "volume"}
    parameters = {
        "type": "gp3",
        "encrypted": "true",
        "kmsKeyId": args.key_arn or ours,
        **{
            f"tagSpecification_{number}": f"{name}={value}"
            for number, (name, value) in enumerate(sorted(tags.items()), 1)
        },
    }
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "ebs.csi.aws.com",
        "parameters": parameters,
        # A volume is never lost with an object: terminating a workspace says so for its own volumes.
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def config_of(gateway: Gateway, runtime: Json, ledger_bucket: str = "") -> list[Json]:
    """Return the agents' settings; ``runtime`` holds those of what runs workspaces."""
    settings: Json = {
        "gateway": gateway.url,
        "runtime": "kubernetes",
        "kubernetes": runtime,
        "enrolment": f"{TOKEN_FOLDER}/{ENROLMENT_FILE}",
        "policy": f"{POLICY_FOLDER}/{POLICY_FILE}",
        "control": PAPERS_FOLDER,
    }
    if ledger_bucket:
        settings["ledgerBucket"] = ledger_bucket
    data = {}
    if gateway.ca_pem:
        settings["ca"] = f"{CONFIG_FOLDER}/ca.pem"
        data["ca.pem"] = gateway.ca_pem
    data["config.json"] = canonical(settings).decode() + "\n"
    return [_data("ConfigMap", CONFIG, data=data)]


def policy_of(text: str) -> Json:
    """Return the customer's policy; an empty ``text`` leaves it to them.

    Raises:
        UsageError: it is no TOML.
    """
    if not text:
        # Without data it is the customer's to fill in: applying it again changes nothing they wrote.
        return _data("ConfigMap", POLICY)
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the policy is no TOML: {error}", hint="`byoc policy check FILE`") from error
    return _data("ConfigMap", POLICY, data={POLICY_FILE: text})


def shown_and_kept() -> list[Json]:
    """Return what the agents fill in."""
    # Made empty here, so that the agent needs no right to make objects of these names.
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    return [
        _data("ConfigMap", ENROLMENT),
        _data("ConfigMap", PAPERS),
        _data("Secret", KEYS, type="Opaque"),
        lease | {"metadata": {"name": AGENT, "namespace": NAMESPACE}},
    ]


def _data(kind: str, name: str, **more: object) -> Json:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}
