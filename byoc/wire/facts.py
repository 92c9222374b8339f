"""What a cell is made of, as the Management API tells it: a part of ``management``."""

# Before Python 3.12 pydantic reads only this TypedDict.
from typing_extensions import TypedDict


class Authority(TypedDict):
    """Who vouches for a cell's engines: its certificate, and by which the one before vouches for it (PEM)."""

    certificate: str
    voucher: str


class Zone(TypedDict):
    """The machines of a cell's zone on which workspaces may run: how many, and what the ready ones offer."""

    name: str
    machines: int
    ready: int
    millicores: int
    memoryBytes: int
    version: str


class CellFacts(TypedDict):
    """What a cell is made of; ``authorities`` are what clients of its engines trust."""

    engine: str
    engineVersion: str
    agentVersion: str
    specVersion: int
    memoryBytes: int
    authorities: list[Authority]
    zones: list[Zone]
