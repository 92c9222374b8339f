"""Whether a gateway answers from here: name, port, TLS 1.3 and certificate, as the cell will meet them."""

import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from byoc.cell.args import Gateway
from byoc.model.check import Check, Result

_SECONDS: Final = 10.0
_PORT: Final = 443


def check_gateway(gateway: Gateway) -> Check:
    """Return whether the gateway can be reached from this machine.

    A cell may have another way out than this machine, so what fails here through a network that is
    closed is still worth mending first: bootstrap itself talks to the Control Plane beside the gateway.
    """
    parts = urlsplit(gateway.url)
    host, port = parts.hostname or "", parts.port or _PORT
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if gateway.ca_pem:
            context.load_verify_locations(cadata=gateway.ca_pem)
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return Check("gateway", Result.PASS, f"{host}:{port} answers by TLS 1.3")
    except ssl.SSLCertVerificationError as error:
        return Check(
            "gateway",
            Result.FAIL,
            f"{host}:{port} shows a certificate that is not trusted: {error.verify_message}",
            "give its authority with --gateway-ca",
        )
    except ssl.SSLError as error:
        return Check(
            "gateway",
            Result.FAIL,
            f"{host}:{port} does not speak TLS 1.3: {error.reason}",
            "is it a gateway?",
        )
    except OSError as error:
        return Check(
            "gateway",
            Result.FAIL,
            f"{host}:{port} does not answer: {error.strerror or error}",
            "check the address, and that this network lets you out to it",
        )
