"""What RBAC cannot say: the agent changes namespaces of workspaces, its own objects, and nothing else.

A ValidatingAdmissionPolicy, so that it is the API server that refuses; read by the manifests. Reads
are not admitted by a policy: for them the agent has rights only where a rolebinding gave it some.
The invariant: whatever the agent asks for and no line here names is refused.
"""

from typing import Any, Final

from byoc.cell.incluster import (
    AGENT,
    ENGINE_OPERATOR,
    ENROLMENT,
    KEYS,
    NAMESPACE,
    OUT_OF_SERVICE,
    STATE_PREFIX,
    TOKEN,
    WORKSPACE_LABEL,
    WORKSPACE_PREFIX,
)

NAME: Final = "byoc-agent-stays-home"
_AGENT_USER: Final = f"system:serviceaccount:{NAMESPACE}:{AGENT}"
_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_VERSION: Final = f"{_ENFORCE}-version"

_VARIABLES: Final = {
    "isNamespace": "request.resource.group == '' && request.resource.resource == 'namespaces'",
    "isVolume": "request.resource.group == '' && request.resource.resource == 'persistentvolumes'",
    "isMachine": "request.resource.group == '' && request.resource.resource == 'nodes' && "
    "request.operation == 'UPDATE' && (!has(request.subResource) || request.subResource == '')",
    # Nothing is stored: they ask what the asker may do.
    "isQuestion": "request.resource.group in ['authorization.k8s.io', 'authentication.k8s.io']",
    "isBinding": "request.resource.group == 'rbac.authorization.k8s.io' && "
    "request.resource.resource == 'rolebindings'",
    "space": "!variables.isNamespace && has(request.namespace) ? request.namespace : ''",
    # At a deletion there is only the old object, at a creation only the new one.
    "seen": "[object, oldObject].filter(each, each != null)",
}


def _workspace(value: str) -> str:
    return (
        f"({value}.metadata.name.startsWith('{WORKSPACE_PREFIX}') && has({value}.metadata.labels) && "
        f"'{WORKSPACE_LABEL}' in {value}.metadata.labels)"
    )


def _unchanged(path: str, empty: str) -> str:
    return f"object.{path}.orValue({empty}) == oldObject.{path}.orValue({empty})"


_OTHER_TAINTS: Final = (
    "[object, oldObject].map(each, each.spec.?taints.orValue([]).filter(taint, "
    f"taint.key != '{OUT_OF_SERVICE}' || taint.?value.orValue('') != '{AGENT}'))"
)
_OWN: Final = f"['{KEYS}', '{ENROLMENT}', '{TOKEN}', '{AGENT}']"

_VALIDATIONS: Final = (
    (
        f"!variables.isNamespace || variables.seen.all(each, {_workspace('each')})",
        "the agent may change namespaces of workspaces only",
    ),
    (
        (
            "!variables.isNamespace || object == null || ("
            f"'{_ENFORCE}' in object.metadata.labels && "
            f"object.metadata.labels['{_ENFORCE}'] == 'restricted')"
        ),
        "a workspace's namespace admits restricted pods only",
    ),
    (
        # An old version of the standard restricts hardly anything.
        (
            f"!variables.isNamespace || object == null || !('{_VERSION}' in object.metadata.labels) || "
            f"object.metadata.labels['{_VERSION}'] == 'latest'"
        ),
        "a workspace's namespace admits what is restricted today, by no older version of the standard",
    ),
    (
        (
            f"variables.space == '' || variables.space == '{NAMESPACE}' || "
            f"(namespaceObject != null && {_workspace('namespaceObject')})"
        ),
        "the agent may change objects in namespaces of workspaces only",
    ),
    (
        (
            f"variables.space != '{NAMESPACE}' || variables.seen.all(each, each.metadata.name in {_OWN} || "
            f"each.metadata.name.startsWith('{STATE_PREFIX}'))"
        ),
        "the agent may change its own objects only",
    ),
    (
        (
            "variables.space != '' || variables.isNamespace || variables.isVolume || variables.isMachine || "
            "variables.isQuestion"
        ),
        "the agent may change no such object of the cluster",
    ),
    (
        (
            "!variables.isVolume || variables.seen.all(each, has(each.spec.claimRef) && "
            f"each.spec.claimRef.namespace.startsWith('{WORKSPACE_PREFIX}'))"
        ),
        "the agent may change volumes of workspaces only",
    ),
    (
        (
            "!variables.isMachine || ("
            + " && ".join(
                _unchanged(path, empty)
                for path, empty in (
                    ("metadata.?labels", "{}"),
                    ("metadata.?annotations", "{}"),
                    ("metadata.?finalizers", "[]"),
                    ("metadata.?ownerReferences", "[]"),
                    ("spec.?unschedulable", "false"),
                )
            )
            + f" && {_OTHER_TAINTS}[0] == {_OTHER_TAINTS}[1])"
        ),
        "the agent may say of a machine that it is out of service, and change nothing else of it",
    ),
    (
        (
            "!variables.isBinding || object == null || (object.roleRef.kind == 'ClusterRole' && "
            f"object.roleRef.name == '{ENGINE_OPERATOR}' && has(object.subjects) && "
            "object.subjects.all(each, each.kind == 'ServiceAccount' && has(each.namespace) && "
            f"(each.namespace == variables.space || (each.namespace == '{NAMESPACE}' && "
            f"each.name == '{AGENT}'))))"
        ),
        "the agent may give an engine's rights to the workspace's own accounts and to itself only",
    ),
)


def admission() -> list[dict[str, Any]]:
    """Return the policy and its binding."""
    api = "admissionregistration.k8s.io/v1"
    everything = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"],
        "resources": ["*/*"],
        "scope": "*",
    }
    policy = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [everything]},
            "matchConditions": [
                {"name": "the-agent", "expression": f"request.userInfo.username == '{_AGENT_USER}'"}
            ],
            "variables": [{"name": name, "expression": text} for name, text in _VARIABLES.items()],
            "validations": [
                {"expression": text, "message": message, "reason": "Forbidden"}
                for text, message in _VALIDATIONS
            ],
        },
    }
    binding = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME, "validationActions": ["Deny"]},
    }
    return [policy, binding]
