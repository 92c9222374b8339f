"""Whether the Nimbus client's image is where the cell's machines will pull it from.

Asked by bootstrap before anything is made. Only a registry of AWS's can be asked with the customer's own
credentials; of any other nobody knows from here, and that is said.
"""

import re
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from byoc.bootstrap.aws import Account, code_of
from byoc.cell.args import Image
from byoc.model.check import Check, Result

_NAME: Final = "agent image"
_ECR: Final = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/(.+)")
_MISSING: Final = frozenset({"ImageNotFoundException", "RepositoryNotFoundException"})


def check_image(account: Account, image: Image) -> Check:
    """Return whether ``image`` is there."""
    found = _ECR.fullmatch(image.repository)
    if found is None or found[2] != account.region:
        return Check(_NAME, Result.UNKNOWN, f"{image.reference}: its registry is not asked from here")
    wanted = {"registryId": found[1], "repositoryName": found[3], "imageIds": [{"imageDigest": image.digest}]}
    try:
        account.client("ecr").describe_images(**wanted)
    except ClientError as error:
        if code_of(error) in _MISSING:
            return Check(
                _NAME,
                Result.FAIL,
                f"{image.reference} is not there",
                f"push it, in a clone by `images/push agent {image.repository}`, or name another",
            )
        return Check(_NAME, Result.UNKNOWN, f"AWS does not tell of {image.reference}: {code_of(error)}")
    except BotoCoreError:
        return Check(_NAME, Result.UNKNOWN, f"AWS does not tell of {image.reference}")
    return Check(_NAME, Result.PASS, image.reference)
