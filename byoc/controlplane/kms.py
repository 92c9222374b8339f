"""AWS KMS, asked to sign with the Control Plane's key. Its home of boto3.

Called by ``byoc.controlplane.signers``. Credentials are the machine's own, found as AWS's tools do.
"""

import hashlib
import threading
from typing import Any, Final

from byoc.errors import Unreachable

SECONDS: Final = 3
"""How long an answer is waited for; it is asked for twice."""
_MAX: Final = 4096
"""Bytes that KMS hashes itself; longer messages are hashed here."""
_MAKING: Final = threading.Lock()


def sign_with_kms(key_id: str, data: bytes) -> bytes:
    """Return the ES256 signature of ``data`` as KMS gives it (ASN.1).

    Raises:
        Unreachable: KMS does not answer, or refuses.
    """
    message, kind = (data, "RAW") if len(data) <= _MAX else (hashlib.sha256(data).digest(), "DIGEST")
    answer = _ask("sign", KeyId=key_id, Message=message, MessageType=kind, SigningAlgorithm="ECDSA_SHA_256")
    return bytes(answer["Signature"])


def public_key_of(key_id: str) -> bytes:
    """Return the half that verifies (DER).

    Raises:
        Unreachable: KMS does not answer, or refuses.
    """
    return bytes(_ask("get_public_key", KeyId=key_id)["PublicKey"])


def _ask(operation: str, **given: Any) -> dict[str, Any]:
    import boto3  # noqa: PLC0415 - slow to import, and few keep their key in KMS
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    # Everything waits for a signature: by the library's own patience, minutes.
    patience = Config(connect_timeout=2, read_timeout=SECONDS, retries={"total_max_attempts": 2})
    try:
        # Many threads may use a client, but only one at a time may make one.
        with _MAKING:
            client = boto3.client("kms", config=patience)
        answer: dict[str, Any] = getattr(client, operation)(**given)
    except ClientError as error:
        raise Unreachable(
            f"KMS refused: {error.response['Error']['Code']}", hint=f"for {operation}"
        ) from error
    except BotoCoreError as error:
        raise Unreachable(
            "KMS does not answer", hint="check the machine's AWS credentials and region"
        ) from error
    return answer
