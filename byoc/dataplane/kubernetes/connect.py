"""How the agent reaches its cluster's API for what it keeps there itself: short questions, short answers.

Used by the lease and by the storage in objects, which are asked from synchronous code. The invariants:
no proxy is used; no call takes longer than :data:`SECONDS`; a foreign error ends here as one of ours.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import httpx2
from lightkube import ApiError, Client, KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from byoc.cell.incluster import AGENT, NAMESPACE
from byoc.errors import (
    ByocError,
    Conflict,
    Failed,
    Forbidden,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
    Unreachable,
    UsageError,
)

MANAGER: Final = AGENT
"""Field manager of everything the agent writes."""
SECONDS: Final = 2.0
_ERRORS: Final[Mapping[int, type[ByocError]]] = {
    400: UsageError,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: UsageError,
    422: UsageError,
    429: TooManyRequests,
}
_SERVER_ERROR: Final = 500


def kube_config(environment: Mapping[str, str]) -> KubeConfig:
    """Return how to reach the cluster: by ``KUBECONFIG``, else as the pod that this process runs in.

    Raises:
        PreconditionFailed: neither is there, or it cannot be read.
    """
    file = environment.get("KUBECONFIG")
    try:
        return KubeConfig.from_file(file) if file else KubeConfig.from_service_account()
    except (ConfigError, OSError, KeyError, ValueError) as error:
        where = Path(file).name if file else "the pod's service account"
        raise PreconditionFailed(
            f"the cluster's API is not known: {where} cannot be read ({type(error).__name__})",
            hint="`runtime: kubernetes` is for pods of a cell; elsewhere set KUBECONFIG",
        ) from error


def current(config: KubeConfig) -> SingleConfig:
    """Return the cluster that a configuration is about, and who we are in it.

    Raises:
        PreconditionFailed: it names none.
    """
    try:
        return cast("SingleConfig", config.get())
    except (ConfigError, KeyError) as error:
        message = f"the kubeconfig does not say which cluster it is about: {str(error)[:200]}"
        hint = "`kubectl config use-context NAME` sets its current context"
        raise PreconditionFailed(message, hint=hint) from error


def open_client(config: KubeConfig) -> Client:
    """Return a client for the agents' namespace; may be used by several threads.

    Raises:
        PreconditionFailed: the configuration names no cluster.
    """
    return Client(
        current(config),
        namespace=NAMESPACE,
        timeout=httpx2.Timeout(SECONDS),
        field_manager=MANAGER,
        trust_env=False,
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what a call of the API may end with into an error of ours that names ``what``.

    Raises:
        Conflict: somebody else wrote it first.
        NotFound, Forbidden, NotAuthenticated, UsageError: as they say.
        TooManyRequests: the server asks for patience. Unreachable: it may or may not have been done.
    """
    try:
        yield
    except ApiError as error:
        status = error.response.status_code
        if status >= _SERVER_ERROR:
            raise Unreachable(f"{what}: the cluster's API answered {status}") from error
        said = " ".join(str(error).split())[:300]
        raise _ERRORS.get(status, Failed)(f"{what}: {said}") from error
    except (httpx2.HTTPError, ConfigError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"{what}: the cluster's API cannot be reached: {reason}") from error
