"""What copies an agent's ledger, started as a process as its manifest says, with S3 emulated beside it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from byoc.cell.arns import bucket_name
from byoc.cell.manifests import bundle
from byoc.dataplane.bucket import PREFIX
from byoc.dataplane.ledger import Ledger
from byoc.testing import ManualClock
from tests.emulated.pods import Pod
from tests.unit.cell.examples import cell

BUCKET = bucket_name(cell(), "ledger")
TOKEN = "a-token-of-the-pods-account"
SECONDS = 90


class PodIdentity(BaseHTTPRequestHandler):
    """The agent of EKS that gives a pod its role's credentials."""

    def do_GET(self) -> None:
        good = self.headers.get("Authorization") == TOKEN
        keys = {"AccessKeyId": "ASIAPOD", "SecretAccessKey": "of-the-role", "Token": "t"}
        body = json.dumps({**keys, "Expiration": "2099-01-01T00:00:00Z"}).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def identity() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), PodIdentity)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/credentials"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What tests before this one have made in the same process is there too.
    with closing(HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("POST", "/moto-api/reset")
        assert connection.getresponse().status == 200
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    place = {"LocationConstraint": "eu-west-1"}
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=True)
    yield client
    client.close()
    server.stop()


def copied(s3: Any) -> bytes:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}chain-1/0").get("Contents", [])
    return b"".join(s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in found)


def test_it_copies_with_the_credentials_of_its_role_and_sends_the_rest_when_it_is_told_to_end(
    tmp_path: Path, s3: Any, identity: str, clock: ManualClock
) -> None:
    objects = bundle(cell()).objects
    (workload,) = (each for each in objects if each["kind"] == "StatefulSet")
    pod = Pod(workload["spec"]["template"]["spec"], objects, tmp_path / "root", which="ledger")
    pod.mount()
    folder = pod.path("/var/lib/byoc/cell/ledger")
    ledger = Ledger(folder, clock, lambda: "chain-1")
    ledger.record("note")
    (tmp_path / "token").write_text(TOKEN)
    program, *words = pod.command
    assert program == "byoc"
    environment = {
        "PATH": os.environ["PATH"],
        **pod.environment,
        "AWS_ENDPOINT_URL_S3": s3.meta.endpoint_url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": identity,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "byoc", *words], env=environment, stdout=out, stderr=out
        )
    try:
        ends = time.monotonic() + SECONDS
        while not copied(s3):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < ends, log.read_text()[-2000:]
            time.sleep(0.05)
        ledger.record("the last one")
    finally:
        process.terminate()
        ended = process.wait(SECONDS)
    assert ended == 0, log.read_text()[-2000:]
    assert copied(s3) == (folder / "ledger.jsonl").read_bytes()
    assert TOKEN not in log.read_text()
