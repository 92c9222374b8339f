"""Which Control Plane a command talks to, decided from what is given. Pure.

``--profile``, then ``BYOC_URL`` with ``BYOC_TOKEN``, then ``BYOC_PROFILE``, then the current
profile, then the only running instance of this machine. Nothing is guessed: two running
instances are a question, not a choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc.errors import NotAuthenticated, UsageError
from byoc_cli.profiles import Config, Profile

_CHOOSE: Final = "choose one with BYOC_URL and BYOC_TOKEN, or `byoc login` to it as a profile"


@dataclass(frozen=True, slots=True)
class Running:
    """An instance that runs on this machine."""

    url: str
    data: Path
    token_file: Path


@dataclass(frozen=True, slots=True)
class Connection:
    """A Control Plane and a key for it.

    Attributes:
        owner: under which name SQL passwords are saved.
        source: where the choice came from, for people.
        data: the data folder, if it is an instance of this machine.
    """

    url: str
    token: str
    owner: str
    source: str
    data: Path | None = None


def choose(
    wanted: str | None, environment: Mapping[str, str], config: Config, running: Sequence[Running]
) -> Connection | Running:
    """Return the connection, or the running instance whose key is still to be read.

    Args:
        wanted: the value of ``--profile``.
        environment: of this process.
        config: the user's profiles.
        running: instances of this machine.

    Raises:
        UsageError: half a pair of variables, or two running instances.
        NotFound: the profile does not exist.
        NotAuthenticated: there is nothing to choose from.
    """
    if wanted:
        return _profile(config.get(wanted))
    url, token = environment.get("BYOC_URL", ""), environment.get("BYOC_TOKEN", "")
    if bool(url) != bool(token):
        missing = "BYOC_TOKEN" if url else "BYOC_URL"
        raise UsageError(f"{missing} is not set, its other half is", hint="set both, or use a profile")
    if url:
        return Connection(url, token, f"url:{url}", "BYOC_URL")
    named = environment.get("BYOC_PROFILE", "") or config.current
    if named:
        return _profile(config.get(named))
    return only(running)


def only(running: Sequence[Running], *, hint: str = _CHOOSE) -> Running:
    """Return the one running instance; ``hint`` says how to choose among several.

    Raises:
        UsageError: there are two or more; the message names them.
        NotAuthenticated: there is none.
    """
    if len(running) > 1:
        names = " and ".join(f"{each.data} ({each.url})" for each in running)
        raise UsageError(
            f"{len(running)} instances are running: {names}",
            hint=hint,
        )
    if not running:
        raise NotAuthenticated(
            "no control plane to talk to: no profile is set and no instance is running",
            hint="start one with `byoc up`, or log in with `byoc login`",
        )
    return running[0]


def of_instance(instance: Running, token: str) -> Connection:
    """Return the connection to a running instance."""
    return Connection(
        instance.url, token, f"instance:{instance.data}", f"instance {instance.data}", instance.data
    )


def _profile(profile: Profile) -> Connection:
    return Connection(profile.url, profile.token, profile.name, f"profile {profile.name}")
