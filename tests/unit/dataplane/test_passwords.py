"""Passwords on their way into the cell: with which change, in which order, and where they are left."""

from dataclasses import replace

import pytest

from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import CellKeys
from byoc.dataplane.report import group_report
from byoc.model.report import Condition, Phase
from byoc.model.verbs import Verb
from byoc.testing.cell import GROUP, ORDERS, OTHER
from byoc.wire.sealing import seal
from tests.unit.dataplane.site import CELL, Site, resumed, suspended


class TestPasswords:
    SECOND = replace(GROUP, generation=2, password_version=2)

    async def test_a_change_while_running_suspended_and_for_one_added_later(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(suspended(ORDERS))
        assert (await site.deliver(self.SECOND, password="second")).status == 200
        await site.deliver(OTHER)
        await site.deliver(resumed(suspended(ORDERS)))
        assert site.cell.runtime.passwords == {ORDERS.id: "second", OTHER.id: "second"}

    async def test_two_changes_while_away_arrive_with_the_last_password(self, site: Site) -> None:
        await site.bring_up()
        third = replace(GROUP, generation=3, password_version=3)
        answer = await site.deliver(
            third, base=1, verbs=[[Verb.GROUP_PASSWORD], [Verb.GROUP_PASSWORD]], password="third"
        )
        assert answer.status == 200
        assert site.cell.runtime.passwords[ORDERS.id] == "third"

    @pytest.mark.parametrize("how", ["another key", "another group", "another version", "noise", "none"])
    async def test_a_blob_that_cannot_be_opened_is_a_condition_and_no_failure(
        self, how: str, site: Site
    ) -> None:
        await site.bring_up()
        own = site.keys.sealing.public_jwk()
        other = CellKeys.load_or_create(FileStorage(site.cell.folder / "other")).sealing.public_jwk()
        blobs = {
            "another key": seal(other, "x", cell=CELL, group=GROUP.id, version=2),
            "another group": seal(own, "x", cell=CELL, group=OTHER.id, version=2),
            "another version": seal(own, "x", cell=CELL, group=GROUP.id, version=3),
            "noise": "a.b.c.d.e",
            "none": None,
        }
        assert (await site.deliver(self.SECOND, sealed=blobs[how])).status == 200
        assert site.cell.phase() is Phase.RUNNING
        assert site.cell.runtime.passwords[ORDERS.id] == "first"
        held = site.cell.state.desired.groups[GROUP.id]
        report = group_report(held, site.cell.state.passwords.version(GROUP.id))
        assert report.condition is Condition.PASSWORD_NEEDED

    async def test_a_new_one_cures_it(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(self.SECOND, sealed="a.b.c.d.e")
        await site.deliver(replace(GROUP, generation=3, password_version=3), password="third")
        assert site.cell.runtime.passwords[ORDERS.id] == "third"

    async def test_a_password_beside_another_change_is_left_alone(self, site: Site) -> None:
        """A customer who denies group.password must not get one by a delivery that says less."""
        (site.cell.folder / "policy.toml").write_text('deny = ["group.password"]\nallow = ["*"]\n')
        assert (await site.resync((self.SECOND,), (ORDERS,))).status == 200
        renamed = replace(self.SECOND, generation=3, name="renamed")
        for spec in (self.SECOND, renamed, renamed):
            assert (await site.deliver(spec, password="the control plane's own")).status == 200
        assert site.cell.state.passwords.version(GROUP.id) == 0

    async def test_no_password_and_no_blob_is_written_to_ledger_state_or_answer(self, site: Site) -> None:
        answer = await site.deliver(GROUP, password="correct-horse")
        await site.deliver(ORDERS)
        files = [path for path in site.cell.folder.rglob("*") if path.is_file()]
        holding = [path for path in files if b"correct-horse" in path.read_bytes()]
        assert [path.parent.name for path in holding] == ["secrets"]
        assert b"correct-horse" not in answer.body
