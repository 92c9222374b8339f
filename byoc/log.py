"""Structured logs with one redaction processor for the whole product.

Called once by each process's entry point. Logs go to stderr, one JSON object a line,
so that stdout stays data. No secret may reach a log: keys that name a secret are
blanked, and so is anything that has the shape of a token.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

# structlog loads rich wherever it is installed, for a console renderer that no server of ours uses:
# 7 MB and 0.1 s in each process. It takes its absence well.
_hidden = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # the import system's own way
import structlog  # noqa: E402

if _hidden is None:
    del sys.modules["rich"]

REDACTED: Final = "[redacted]"
_SECRET_KEY: Final = re.compile(
    r"password|secret|token|authorization|cookie|private|sealed|credential|api_?key", re.IGNORECASE
)
_SECRET_VALUE: Final = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"  # JWS, JWT, JWE
    r"|(?i:bearer\s+)[A-Za-z0-9._~+/=-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:identified\s+by\s+)'[^']*'"
)
# Values under these keys are numbers or names about secrets, never secrets.
_HARMLESS: Final = frozenset({"password_version", "token_kind"})


def redact_text(text: str) -> str:
    """Blank whatever in ``text`` has the shape of a token, key or password clause."""
    return _SECRET_VALUE.sub(REDACTED, text)


def redact(value: object, key: str = "") -> Any:
    """Return ``value`` with secrets blanked, containers included."""
    if key and key not in _HARMLESS and _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(k): redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, str):
        return redact_text(value)
    return value


def redaction(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: runs last before rendering, on every record."""
    return {key: redact(value, key) for key, value in event.items()}


def configure(level: str = "info", *, component: str) -> None:
    """Set up logging for this process.

    Args:
        level: a level of the standard library, in lower case.
        component: which process speaks; stands on every line.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redaction,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(component=component)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of one module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
