"""Files that options name, read whole."""

from pathlib import Path

from byoc.errors import UsageError


def text_of(path: Path | None) -> str | None:
    """Return what a file holds that an option names; None where it names none.

    Raises:
        UsageError: it cannot be read as text.
    """
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read") from error
