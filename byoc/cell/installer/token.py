"""How the function says who it is to the cluster: a presigned question to STS, as EKS wants it.

The EKS API server hands the URL to STS and learns the caller's role from the answer; nothing is
called here. Signature Version 4 by the standard library (IAM user guide, "Create a signed AWS API
request"); the tests compare it with the vendor's own signer.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

LIFE: Final = 60
"""Seconds for which the URL may be used; EKS allows 15 minutes."""
_PREFIX: Final = "k8s-aws-v1."
_CLUSTER_HEADER: Final = "x-k8s-aws-id"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_EMPTY: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of a role, as Lambda puts them into the function's environment."""

    key_id: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


def cluster_token(cluster: str, region: str, credentials: Credentials, now: datetime) -> str:
    """Return the bearer token for ``cluster``, good for :data:`LIFE` seconds from ``now``."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    url = presign(
        f"sts.{region}.{suffix}",
        {"Action": "GetCallerIdentity", "Version": "2011-06-15"},
        {_CLUSTER_HEADER: cluster},
        region=region,
        credentials=credentials,
        now=now,
    )
    return _PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def of_function(environment: Mapping[str, str]) -> Callable[[], str]:
    """Return what makes a token for the cluster that a function's environment names, each time anew."""
    credentials = Credentials(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        environment.get("AWS_SESSION_TOKEN", ""),
    )
    cluster, region = environment["BYOC_CLUSTER"], environment["AWS_REGION"]
    return lambda: cluster_token(cluster, region, credentials, datetime.now(UTC))


def presign(
    host: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    region: str,
    credentials: Credentials,
    now: datetime,
) -> str:
    """Return the presigned URL of ``GET https://host/?query``; ``headers`` (lower case) are signed too."""
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/sts/aws4_request"
    signed = {"host": host, **headers}
    names = ";".join(sorted(signed))
    asked = {
        **query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.key_id}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(LIFE),
        "X-Amz-SignedHeaders": names,
        **({"X-Amz-Security-Token": credentials.session} if credentials.session else {}),
    }
    text = "&".join(f"{_quoted(name)}={_quoted(asked[name])}" for name in sorted(asked))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = f"GET\n/\n{text}\n{lines}\n{names}\n{_EMPTY}"
    to_sign = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret}".encode()
    for part in (moment[:8], region, "sts", "aws4_request"):
        key = _hmac(key, part)
    return f"https://{host}/?{text}&X-Amz-Signature={_hmac(key, to_sign).hex()}"


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
