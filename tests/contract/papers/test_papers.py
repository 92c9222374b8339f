"""What every way into a cell promises: the same papers, the same refusals, the same commands."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc.errors import Conflict, IllegalState, NotFound, UsageError
from byoc.model.control import (
    Access,
    Answers,
    Glass,
    GlassNote,
    GlassNotes,
    Request,
    Requests,
    Stage,
    Standing,
)
from byoc.model.papers import BY_CELL, BY_CUSTOMER, LONGEST, Paper
from byoc.wire import control
from byoc.wire.control import answer, dump, edit, load, note_glass, read_access, set_access

NOW = datetime(2030, 1, 1, tzinfo=UTC)
Way = Any


def test_a_paper_that_nobody_wrote_is_empty(way: Way) -> None:
    assert [way.papers.read(paper).text for paper in Paper] == [""] * len(Paper)


@pytest.mark.parametrize("paper", BY_CUSTOMER)
def test_what_the_customer_writes_is_what_the_cell_reads(way: Way, paper: Paper) -> None:
    text = 'allow = ["workspace.*"]  # für alle\n'
    edit(way.papers, paper, lambda _: text)

    assert way.papers.read(paper).text == text
    assert way.word(paper) == text


@pytest.mark.parametrize("paper", [Paper.REQUESTS, Paper.STANDING])
def test_what_the_cell_shows_can_be_read_and_not_written(way: Way, paper: Paper) -> None:
    way.show(paper, "{}")
    sheet = way.papers.read(paper)

    assert sheet.text == "{}"
    with pytest.raises(UsageError, match="none of the customer's"):
        way.papers.write(paper, "forged", sheet.version)


def test_none_of_the_cells_papers_is_the_customers(way: Way) -> None:
    for paper in BY_CELL:
        with pytest.raises(UsageError):
            way.papers.write(paper, "x", way.papers.read(paper).version)


def test_a_paper_that_was_written_meanwhile_is_not_overwritten(way: Way) -> None:
    before = way.papers.read(Paper.ANSWERS)
    way.papers.write(Paper.ANSWERS, "mine", before.version)

    with pytest.raises(Conflict, match="somebody else"):
        way.papers.write(Paper.ANSWERS, "yours", before.version)
    assert way.papers.read(Paper.ANSWERS).text == "mine"


def test_an_edit_that_lost_a_race_is_made_anew_of_the_newest_text(way: Way) -> None:
    raced: list[str] = []

    def change(text: str) -> str:
        if not raced:
            raced.append("once")
            way.papers.write(Paper.ANSWERS, "theirs", way.papers.read(Paper.ANSWERS).version)
        return f"{text}+mine"

    assert edit(way.papers, Paper.ANSWERS, change) == "theirs+mine"


def test_a_paper_has_a_length(way: Way) -> None:
    with pytest.raises(UsageError, match="too long"):
        way.papers.write(Paper.POLICY, "#" * (LONGEST + 1), way.papers.read(Paper.POLICY).version)


def test_the_papers_do_not_disturb_each_other(way: Way) -> None:
    edit(way.papers, Paper.ACCESS, lambda _: "access")
    edit(way.papers, Paper.ANSWERS, lambda _: "answers")
    edit(way.papers, Paper.GLASS, lambda _: "glass")
    edit(way.papers, Paper.ACCESS, lambda text: f"{text}!")

    said = [way.word(paper) for paper in (Paper.ACCESS, Paper.ANSWERS, Paper.GLASS)]
    assert said == ["access!", "answers", "glass"]


def test_access_is_revoked_and_restored(way: Way) -> None:
    for revoked in (True, False):
        set_access(way.papers, Access(revoked, "ann", NOW, "audit"))
        assert read_access(way.word(Paper.ACCESS)) == Access(revoked, "ann", NOW, "audit")


def test_a_request_is_answered_once_and_by_its_name_only(way: Way) -> None:
    asked = Request("abc", "own", "group", "sales", 2, "d" * 64, ("group.terminate",), "eve", NOW, NOW)
    way.show(Paper.REQUESTS, dump(Requests((asked,))))
    assert control.requests(way.papers) == (asked,)
    with pytest.raises(NotFound):
        answer(way.papers, "another", approved=True, by="ann", now=NOW)
    with pytest.raises(IllegalState, match="expired"):
        answer(way.papers, "abc", approved=True, by="ann", now=NOW + timedelta(days=1))
    found = answer(way.papers, "abc", approved=True, by="ann", now=NOW)

    assert found.stage is Stage.APPROVED
    (said,) = load(Answers, way.word(Paper.ANSWERS), Answers()).answers
    assert (said.own, said.generation, said.digest, said.by) == ("own", 2, "d" * 64, "ann")


def test_a_break_glass_session_is_noted_once(way: Way) -> None:
    note = GlassNote("s-1", Glass.OPENED, "ann", "a fire", NOW, NOW + timedelta(hours=1))
    for _ in range(2):
        note_glass(way.papers, note)
    assert load(GlassNotes, way.word(Paper.GLASS), GlassNotes()).notes == (note,)


def test_the_cells_own_word_is_read_whole(way: Way) -> None:
    assert control.standing(way.papers) is None
    said = Standing(NOW, heard=NOW, revoked=True, sessions=0, refused=3)
    way.show(Paper.STANDING, dump(said))
    assert control.standing(way.papers) == said
