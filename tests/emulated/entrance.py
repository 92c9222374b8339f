"""How a cluster of EKS learns who comes: its API server asks here, the account's access entries answer.

A token is a presigned question to STS. What STS would answer, the role of whoever signed it, is found by
the signer's key id: the emulation's STS knows those that it gave out itself, and that of a function is the
function's name. Groups and policies are those of the role's access entry. Whoever has none is not known.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import ClientError

from tests.emulated.account import Account

Json = dict[str, Any]

_PREFIX = "k8s-aws-v1."
_ADMINISTRATOR = "AmazonEKSClusterAdminPolicy"


class Entrance:
    """The webhook; ``account`` is the one whose cluster asks, and which has one cluster.

    Attributes:
        url: what the API server asks.
        came: role and groups of whoever was let in.
    """

    def __init__(self) -> None:
        self.account: Account | None = None
        self.url = ""
        self.came: dict[str, tuple[str, ...]] = {}

    def config(self) -> Json:
        """Return what the API server is told of the webhook."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "entrance", "cluster": {"server": self.url}}],
            "users": [{"name": "api", "user": {}}],
            "contexts": [{"name": "entrance", "context": {"cluster": "entrance", "user": "api"}}],
            "current-context": "entrance",
        }

    def answer(self, token: str) -> Json:
        """Return the status of a review."""
        signer = _signer(token)
        if self.account is None or not signer:
            return {"authenticated": False}
        try:
            role, groups = self._look_up(self.account.aws(), signer)
        except ClientError as error:
            return {"authenticated": False, "error": str(error)}
        self.came[role] = groups
        return {"authenticated": True, "user": {"username": role, "groups": list(groups)}}

    def _look_up(self, aws: Any, signer: str) -> tuple[str, tuple[str, ...]]:
        role = _assumed(aws, signer) or _of_function(aws, signer)
        eks = aws("eks")
        (cluster,) = eks.list_clusters()["clusters"]
        who = {"clusterName": cluster, "principalArn": role}
        groups = list(eks.describe_access_entry(**who)["accessEntry"]["kubernetesGroups"])
        policies = eks.list_associated_access_policies(**who)["associatedAccessPolicies"]
        if any(each["policyArn"].endswith(_ADMINISTRATOR) for each in policies):
            groups.append("system:masters")
        return role, tuple(groups)


def _assumed(aws: Any, signer: str) -> str:
    """Return the role whose session has this key; empty where STS gave it to nobody."""
    make: Any = boto3.client
    # A presigned question comes without its secret, and so does this one.
    sts = make(
        "sts",
        endpoint_url=aws.endpoint,
        region_name=aws.region,
        aws_access_key_id=signer,
        aws_secret_access_key="-",
    )
    kind, _, rest = sts.get_caller_identity()["Arn"].rpartition(":")[2].partition("/")
    if kind != "assumed-role":
        return ""
    return str(aws("iam").get_role(RoleName=rest.partition("/")[0])["Role"]["Arn"])


def _of_function(aws: Any, name: str) -> str:
    return str(aws("lambda").get_function(FunctionName=name)["Configuration"]["Role"])


def _signer(token: str) -> str:
    """Return by whose key a token was signed; empty where it is no question to STS about this cluster."""
    if not token.startswith(_PREFIX):
        return ""
    text = token.removeprefix(_PREFIX)
    parts = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    asks = parts.netloc.startswith("sts.") and query.get("Action") == "GetCallerIdentity"
    if not asks or "x-k8s-aws-id" not in query.get("X-Amz-SignedHeaders", ""):
        return ""
    return query["X-Amz-Credential"].partition("/")[0]


@contextmanager
def attending() -> Iterator[Entrance]:
    """Answer reviews on loopback while inside."""
    entrance = Entrance()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            about = {name: asked[name] for name in ("apiVersion", "kind")}
            body = json.dumps(about | {"status": entrance.answer(asked["spec"]["token"])}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    entrance.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield entrance
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
