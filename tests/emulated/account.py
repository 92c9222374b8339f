"""One emulated AWS account behind an address: a server in this process, or in a process of its own.

What it holds is the process's: a second one that is served there begins empty, and empties the first.
Run as a program it serves until its parent is gone, and prints its address first:
``python -m tests.emulated.account``.
"""

import logging
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.emulated.handlers.handler import REGION, Aws, Invoke
from tests.emulated.transport import InProcess


class Account:
    """The account of a test session.

    Attributes:
        endpoint: address for every service.
    """

    def __init__(self, endpoint: str, app: Any = None) -> None:
        self.endpoint = endpoint
        self._app = app
        self._aws: dict[str, Aws] = {}

    def reset(self) -> None:
        """Forget everything, as a test begins."""
        asked = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(asked).close()

    def aws(self, region: str = REGION, invoke: Invoke | None = None) -> Aws:
        """The account in a region; the clients are made once a session, ``invoke`` is the test's."""
        aws = self._aws.get(region)
        if aws is None:
            transport = None if self._app is None else InProcess(self._app)
            aws = self._aws[region] = Aws(self.endpoint, region, transport=transport)
        aws.invoke = invoke
        return aws

    @contextmanager
    def heard(self, listener: Callable[[Any], None]) -> Iterator[None]:
        """Tell ``listener`` of each call before it is answered, while inside."""
        self._app.heard = listener
        try:
            yield
        finally:
            self._app.heard = _nobody

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


def _nobody(_: Any) -> None:
    """Tell nobody."""


class OneAtATime:
    """An application that answers one call after the other: moto's tables are not made for several threads.

    A call of a function takes as long as the function and changes nothing of the account: it holds up nobody.
    """

    def __init__(self, app: Any) -> None:
        self.heard: Callable[[Any], None] = _nobody
        self._app = app
        self._lock = threading.RLock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answer one call as a whole."""
        self.heard(environ)
        if environ["PATH_INFO"].endswith("/invocations"):
            answered: Iterable[bytes] = self._app(environ, start_response)
            return answered
        with self._lock:
            return list(self._app(environ, start_response))


@contextmanager
def serving(port: int = 0) -> Iterator[Account]:
    """Serve an account from a thread of this process; calls of this process's own take no socket."""
    # Half a second, and only where it is used.
    from moto import backends  # noqa: PLC0415
    from moto.moto_server import werkzeug_app as moto  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    from tests.emulated import bucket_policies, moto_account, moto_eks  # noqa: PLC0415

    moto_account.install()
    moto_eks.install()
    # It lists its own folder for each request: a fifth of its time.
    names = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: names
    undo = bucket_policies.honour_conditions()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = OneAtATime(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=moto.MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    account = Account(f"http://127.0.0.1:{server.server_port}", app)
    account.reset()
    try:
        yield account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
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
