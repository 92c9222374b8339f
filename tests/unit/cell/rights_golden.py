"""The policies of an example cell as a file, so that a review sees each right that changes."""

import json
from pathlib import Path

from byoc.cell.arns import ROLES
from byoc.cell.boundary import boundary
from byoc.cell.keypolicy import key_policy
from byoc.cell.policies import rights
from tests.unit.cell.examples import ACCOUNT, REGION, cell

FILE = Path(__file__).with_name("golden") / "policies.json"
HOW = "a right changed; if it was meant to: python -m tests.unit.cell.rights_golden"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-1111-4111-8111-111111111111"
ZONE = "Z0123456789ABCDEFGHIJ"
ISSUER = f"oidc.eks.{REGION}.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"


def text() -> str:
    """Return what the file should hold."""
    args = cell()
    said = {"boundary": boundary(args).plain(), "key": key_policy(args).plain()}
    for which in ROLES:
        each = rights(args, which, key_arn=KEY, zone_id=ZONE, issuer=ISSUER)
        said[which] = {
            "purpose": each.purpose,
            "trust": each.trust.plain(),
            "managed": list(each.managed),
            "own": each.own.plain() if each.own else None,
        }
    return json.dumps(said, indent=2) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
