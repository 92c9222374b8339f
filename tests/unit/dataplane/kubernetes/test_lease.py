"""A Lease that was put back to an older one: no epoch is used twice, and it is noticed."""

import json
from typing import Any

import httpx2
import pytest
from lightkube import Client, KubeConfig

from byoc.dataplane.kubernetes.lease import LeaseObject
from byoc.testing.clock import ManualClock
from tests.unit.dataplane.kubernetes.test_client import CONFIG


class Server:
    """Holds one Lease."""

    def __init__(self, transitions: int) -> None:
        self.version = 1
        self.spec: dict[str, Any] = {"leaseTransitions": transitions}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PATCH":
            change = json.loads(request.content)
            if change["metadata"]["resourceVersion"] != str(self.version):
                refusal = {"kind": "Status", "apiVersion": "v1", "code": 409, "message": "changed"}
                return httpx2.Response(409, json=refusal)
            self.version += 1
            self.spec |= change["spec"]
        metadata = {"name": "byoc-agent", "namespace": "n", "resourceVersion": str(self.version)}
        return httpx2.Response(200, json={"metadata": metadata, "spec": self.spec})


@pytest.mark.parametrize(("state_has", "epoch", "noticed"), [(7, 8, 0), (6, 8, 0), (9, 10, 9)])
def test_an_older_lease_is_noticed_and_no_epoch_is_used_twice(
    clock: ManualClock, state_has: int, epoch: int, noticed: int
) -> None:
    server = Server(7)
    single = KubeConfig.from_dict(CONFIG).get()
    transport = httpx2.MockTransport(server)
    client = Client(single, namespace="n", transport=transport, trust_env=False)
    lease = LeaseObject(client, "agent-0", clock)
    term = lease.take(lease.look(), state_has)
    assert term is not None
    assert (term.epoch, term.went_back_from) == (epoch, noticed)
    assert server.spec["leaseTransitions"] == epoch
