"""A user's own folders by the XDG rules: the one place that decides where home is.

Used by whoever keeps something of a user's. The invariant: a process that was started without ``HOME``
finds the same folders as one that was not, and nothing is ever kept in the root folder by mistake.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from byoc.errors import PreconditionFailed


def base(environment: Mapping[str, str], variable: str, default: str) -> Path:
    """Return the folder that ``variable`` names, else ``default`` below the user's home.

    Raises:
        PreconditionFailed: neither the variable nor ``HOME`` is set, and the machine knows no home.
    """
    # The XDG rule: a relative path is to be ignored.
    given = environment.get(variable, "")
    return Path(given) if given.startswith("/") else _home(environment) / default


def _home(environment: Mapping[str, str]) -> Path:
    given = environment.get("HOME", "")
    if given.startswith("/"):
        return Path(given)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise PreconditionFailed("this user has no home folder", hint="set HOME") from error
