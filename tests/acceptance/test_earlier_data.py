"""Data folders kept from each released version are opened by this one: `scripts/sample` made them."""

import json
import tarfile
from pathlib import Path

import pytest

from tests.acceptance.people import User

KEPT = sorted((Path(__file__).parents[1] / "data").glob("*.tar.xz"))


def test_there_is_a_kept_folder() -> None:
    assert KEPT


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.name)
def test_an_instance_of_an_earlier_version_goes_on(user: User, kept: Path) -> None:
    data = user.data()
    with tarfile.open(kept) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(user.home)  # noqa: S202 - an archive of our own
    data.chmod(0o700)
    credentials = user.home / ".config" / "byoc" / "credentials.json"
    credentials.parent.mkdir(parents=True)
    saved = json.loads((data / "credentials.json").read_text())
    (data / "credentials.json").unlink()
    # They were saved for the instance in another folder.
    credentials.write_text(json.dumps({f"instance:{data}": next(iter(saved.values()))}))
    credentials.chmod(0o600)
    user.environment["XDG_CONFIG_HOME"] = str(user.home / ".config")

    ran = user.up(data)
    assert ran.code == 0, ran.err
    (orders,) = user.byoc("workspace", "list", "-o", "json").json
    assert (orders["name"], orders["state"]) == ("orders", "SUSPENDED")
    resumed = user.byoc("workspace", "resume", "orders")
    assert resumed.code == 0, resumed.err
    row = user.byoc("workspace", "connect", "orders", "--exec", "select id from shop.t", "-o", "json")
    assert row.code == 0, row.err
    assert "1" in row.out
    assert user.byoc("ledger", "verify").code == 0
