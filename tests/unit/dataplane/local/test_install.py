"""Deciding how to get an engine."""

from dataclasses import replace

import pytest

from byoc.dataplane.local.install import Machine, Way, choose_package, decide
from byoc.errors import PreconditionFailed

DEBIAN = Machine("Linux", frozenset({"debian"}), has_apt=True, is_root=True)
POLICY = """\
mariadb-server-core:
  Installed: (none)
  Candidate: {}
  Version table:
     1:10.11.6-0+deb12u1 500
mariadb-server-core-10.11:
  Installed: (none)
  Candidate: (none)
  Version table:
mariadb-server-core-10.6:
  Installed: (none)
  Candidate: {}
  Version table:
"""


def test_root_installs_and_others_unpack() -> None:
    assert decide(DEBIAN) is Way.APT
    assert decide(replace(DEBIAN, is_root=False)) is Way.UNPACK


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        (Machine("Linux", frozenset({"fedora"}), False, True), "sudo dnf install mariadb-server"),
        (Machine("Linux", frozenset({"rocky", "rhel"}), False, False), "sudo dnf install mariadb-server"),
        (Machine("Darwin", frozenset(), False, False), "brew install mariadb"),
        (Machine("Linux", frozenset({"opensuse", "suse"}), False, False), "sudo zypper install mariadb"),
        (
            Machine("Linux", frozenset(), False, False),
            "install MariaDB with this system's packages, so that `mariadbd` is on PATH",
        ),
    ],
)
def test_elsewhere_the_one_line_to_run_is_the_answer(machine: Machine, line: str) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        decide(machine)
    assert (refused.value.hint, refused.value.exit_code) == (line, 9)


@pytest.mark.parametrize(
    ("plain", "numbered", "package"),
    [
        ("1:10.11.6-0+deb12u1", "(none)", "mariadb-server-core"),
        ("(none)", "1:10.6.18-0ubuntu0.22.04.1", "mariadb-server-core-10.6"),
        ("1:10.5.23-0+deb11u1", "(none)", None),
        ("(none)", "(none)", None),
    ],
)
def test_the_first_package_that_is_new_enough_is_taken(
    plain: str, numbered: str, package: str | None
) -> None:
    assert choose_package(POLICY.format(plain, numbered)) == package


def test_no_lists_offer_no_package() -> None:
    assert choose_package("") is None
