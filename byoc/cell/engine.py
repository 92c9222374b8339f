"""Which SQL engine the workspaces of a cell have: frozen, refused early. Pure.

Part of a cell's arguments; written into the agents' ``config.json``, where the cluster's runtime reads it.
The invariants: an image is named by digest, and of a licence nothing stands here but where it is kept.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from byoc.cell.incluster import LICENCE, NAMESPACE
from byoc.errors import UsageError

BY_DIGEST: Final = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/.+")
SECRET_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

VOLUMES: Final = "volumes"
DETACH: Final = "detach"
"""What a suspended workspace keeps: its volumes, or its databases in the bucket."""


class EngineKind(StrEnum):
    """The engines that a cell can run."""

    MYSQL = "mysql"
    """MariaDB, or another that speaks MySQL's protocol in one pod."""
    SINGLESTORE = "singlestore"
    """Several nodes a workspace, made by the vendor's operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The engine of a cell.

    Attributes:
        image: of the engine, or of a node of it; empty for this release's MariaDB.
        operator_image: of the operator; where there is one.
        licence: name of the Secret in the client's namespace that holds the licence; the customer makes it.
        suspend: what a suspended workspace keeps, ``VOLUMES`` or ``DETACH``.
    """

    kind: EngineKind = EngineKind.MYSQL
    image: str = ""
    operator_image: str = ""
    licence: str = LICENCE
    suspend: str = VOLUMES

    def __post_init__(self) -> None:
        """Refuse an engine that could not run.

        Raises:
            UsageError: an image is missing, of no use or named by a tag, or the Secret has no name.
        """
        for what, image in (("engine", self.image), ("engine's operator", self.operator_image)):
            if image and BY_DIGEST.fullmatch(image) is None:
                raise UsageError(
                    f"image `{image}` of the {what} has no digest", hint="name it as repository@sha256:…"
                )
        if not SECRET_NAME.fullmatch(self.licence):
            raise UsageError(
                "the Secret of the engine's licence has not the form of a name",
                hint=f"give the name of a Secret in {NAMESPACE}, and never the licence itself",
            )
        if self.kind is EngineKind.SINGLESTORE and not (self.image and self.operator_image):
            raise UsageError(
                f"`{self.kind}` needs the images of its nodes and of its operator",
                hint="name both by digest: engineImage and operatorImage",
            )
        if self.kind is EngineKind.MYSQL and self.operator_image:
            raise UsageError(
                f"`{self.kind}` has no operator",
                hint=f"leave operatorImage out, or say engine `{EngineKind.SINGLESTORE}`",
            )

        if self.suspend not in (VOLUMES, DETACH):
            raise UsageError(
                f"`suspend` cannot be `{self.suspend}`", hint=f"choose one of {VOLUMES}, {DETACH}"
            )
        if self.kind is EngineKind.MYSQL and self.suspend == DETACH:
            raise UsageError(
                f"`{self.kind}` cannot detach its databases to a bucket",
                hint=f"leave `suspend` at `{VOLUMES}`, or say engine `{EngineKind.SINGLESTORE}`",
            )

    def runtime(self) -> dict[str, str]:
        """Return what the cluster's runtime is told; nothing of what is at its default."""
        said, usual = _told(self), _told(Engine())
        return {name: value for name, value in said.items() if value != usual[name]}


def _told(engine: Engine) -> dict[str, str]:
    return {
        "engine": engine.kind.value,
        "image": engine.image,
        "operatorImage": engine.operator_image,
        "licence": engine.licence,
        "suspend": engine.suspend,
    }
