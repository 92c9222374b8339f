"""Reading an engine's last words."""

import pytest

from byoc.dataplane.local.verdict import why_it_ended
from byoc.model.report import Reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", None),
        ("[ERROR] InnoDB: Your redo log is of an unknown format", None),
        (
            "[ERROR] Can't start server: Bind on TCP/IP port. Got error: 98: Address already in use",
            "port-taken",
        ),
        ("[ERROR] Do you already have another server running on port: 3306 ?", "port-taken"),
        (
            "[ERROR] mariadbd: Disk is full writing './ibdata1' (Errcode: 28 \"No space left on device\")",
            "disk-full",
        ),
        ("[ERROR] InnoDB: Operating system error number 28 in a file operation.", "disk-full"),
        ("[ERROR] InnoDB: error 281 in something else", None),
        (
            "[ERROR] InnoDB: Upgrade after a crash is not supported. The redo log was created with 10.6",
            "data-not-upgraded",
        ),
    ],
)
def test_only_known_causes_are_named(words: str, reason: str | None) -> None:
    assert why_it_ended(words) == (Reason(reason) if reason else None)


def test_the_code_is_all_that_is_kept_of_the_words() -> None:
    told = why_it_ended("No space left on device while writing row 'secret'")
    assert told == "disk-full"
