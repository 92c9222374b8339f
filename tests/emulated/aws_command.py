"""``aws eks get-token``, for who has no AWS command line: the token that the real one would print.

Run as a program, under the name ``aws``, by whoever reads a configuration of a cluster. It knows this one
command; the credentials are those of its environment.
"""

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

if __name__ == "__main__":
    # Not beside this file, where modules have names that others import.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from byoc.cell.installer.token import Credentials, cluster_token

ROOT = Path(__file__).resolve().parents[2]
_LIFE = timedelta(minutes=14)
"""For how long the real command says that its token may be used."""


def lay_command(folder: Path) -> None:
    """Write the command into ``folder``, which is to be on somebody's path."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "aws"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/emulated/aws_command.py" "$@"\n')
    command.chmod(0o755)


def main() -> None:
    """Print a token for a cluster.

    Raises:
        SystemExit: another command is asked for.
    """
    match sys.argv[1:]:
        case ["eks", "get-token", "--cluster-name", cluster, "--region", region]:
            now, held = datetime.now(UTC), os.environ
            credentials = Credentials(
                held["AWS_ACCESS_KEY_ID"], held["AWS_SECRET_ACCESS_KEY"], held.get("AWS_SESSION_TOKEN", "")
            )
            token = cluster_token(cluster, region, credentials, now)
            until = (now + _LIFE).strftime("%Y-%m-%dT%H:%M:%SZ")
            answer = {
                "kind": "ExecCredential",
                "apiVersion": "client.authentication.k8s.io/v1beta1",
                "spec": {},
                "status": {"expirationTimestamp": until, "token": token},
            }
            sys.stdout.write(f"{json.dumps(answer)}\n")
        case other:
            raise SystemExit(f"not emulated: aws {' '.join(other)}")


if __name__ == "__main__":
    main()
