"""``byoc audit list``: who did what, to what, and how it ended."""

from typing import Any

from tests.unit.cli.conftest import Plane


def deed(number: int, **more: Any) -> dict[str, Any]:
    known = {"by": "ann@acme.test", "keyID": "k-1", "action": "suspend workspace", "objectID": "w-1"}
    end = {"status": 200, "requestID": f"r-{number}"}
    return {"number": number, "at": "2030-01-01T00:00:00Z", **known, **end, **more}


def test_each_deed_says_who_what_to_what_and_the_result(byoc: Any, plane: Plane) -> None:
    plane.deeds += [deed(1), deed(2, status=409, code="illegal_state")]
    ended = byoc("audit", "list")
    assert ended.code == 0
    first, second = [line.split() for line in ended.out.splitlines()[1:3]]
    assert first[:5] == ["2030-01-01T00:00:00Z", "ann@acme.test", "suspend", "workspace", "w-1"]
    assert "illegal_state" in second
    assert byoc("audit", "list", "-o", "json").json == plane.deeds
    assert "/byoc/v1/audit?after=0&newest=50" in [path for _, path, _ in plane.asked]


def test_following_goes_on_from_the_last_number(byoc: Any, plane: Plane) -> None:
    plane.deeds += [deed(7)]
    plane.patience = 2
    ended = byoc("audit", "list", "--follow")
    assert ended.code == 130
    assert ended.out == "2030-01-01T00:00:00Z  ann@acme.test  suspend workspace w-1: done\n"
    assert [path for _, path, _ in plane.asked][-1] == "/byoc/v1/audit?after=7&newest=1000"
