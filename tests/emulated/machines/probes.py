"""A container's probes, as a kubelet makes them: a command beside it, a connection, an HTTP request."""

import asyncio
from typing import Any

from tests.emulated.machines.container import Container

Json = dict[str, Any]


async def answers(container: Container, spec: Json, probe: Json, address: str) -> bool:
    """Make ``probe`` once."""
    seconds = float(probe.get("timeoutSeconds", 1))
    if "exec" in probe:
        # A busy machine is no sick engine: starting a command can take longer than it may itself.
        return await container.execute(probe["exec"]["command"], seconds + 5)
    try:
        async with asyncio.timeout(seconds):
            return await _connects(spec, probe, address)
    except (OSError, TimeoutError):
        return False


async def _connects(spec: Json, probe: Json, address: str) -> bool:
    how = probe.get("tcpSocket") or probe["httpGet"]
    reader, writer = await asyncio.open_connection(how.get("host", address), _port(spec, how["port"]))
    try:
        if "httpGet" not in probe:
            return True
        writer.write(f"GET {how.get('path', '/')} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        line = await reader.readline()
        return b" 2" in line or b" 3" in line
    finally:
        writer.close()


def _port(spec: Json, port: int | str) -> int:
    if isinstance(port, int):
        return port
    (found,) = (each["containerPort"] for each in spec["ports"] if each.get("name") == port)
    return int(found)
