"""One emulated AWS account behind an address: a server in this process, or in a process of its own.

Run as a program it serves until its parent is gone, and prints its address first:
``python -m tests.emulated.account``.
"""

import logging
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.emulated.handlers.handler import REGION, Aws, Invoke


class Account:
    """The account of a test session.

    Attributes:
        endpoint: address for every service.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._aws: dict[str, Aws] = {}

    def reset(self) -> None:
        """Forget everything, as a test begins."""
        asked = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(asked).close()

    def aws(self, region: str = REGION, invoke: Invoke | None = None) -> Aws:
        """The account in a region; the clients are made once a session, ``invoke`` is the test's."""
        aws = self._aws.setdefault(region, Aws(self.endpoint, region))
        aws.invoke = invoke
        return aws

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to take this for AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


@contextmanager
def serving(port: int = 0) -> Iterator[Account]:
    """Serve an account from a thread of this process."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - half a second, and only where it is used

    from tests.emulated import bucket_policies, moto_account, moto_eks  # noqa: PLC0415

    moto_account.install()
    moto_eks.install()
    undo = bucket_policies.honour_conditions()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, bound = server.get_host_and_port()
    try:
        yield Account(f"http://{host}:{bound}")
    finally:
        server.stop()
        undo()


def ends_with_parent(interval: float = 1.0) -> None:
    """End this process when the one that started it is gone: an engine that is killed stops nobody."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serve until the parent is gone."""
    ends_with_parent()
    with serving(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as account:
        sys.stdout.write(f"{account.endpoint}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
