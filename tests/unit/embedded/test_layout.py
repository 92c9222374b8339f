import json
from dataclasses import replace
from pathlib import Path

import pytest

from byoc.embedded import layout
from byoc.embedded.layout import Layout
from byoc.embedded.places import Places
from byoc.errors import DataInUse, PreconditionFailed

CURRENT = Layout(engine_version="10.11.6", port=8787, gateway_port=8788)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "data")


def write(places: Places, value: object) -> None:
    places.data.mkdir(exist_ok=True)
    places.layout.write_text(json.dumps(value))


def test_a_layout_keeps_its_names_on_disk() -> None:
    assert layout.to_json(CURRENT) == {
        "layout": 1,
        "schema": layout.SCHEMA,
        "engineVersion": "10.11.6",
        "port": 8787,
        "gatewayPort": 8788,
    }
    assert layout.from_json(layout.to_json(CURRENT)) == CURRENT


def test_a_missing_or_empty_folder_has_no_layout(places: Places) -> None:
    assert layout.read(places) is None
    places.run.mkdir(parents=True)
    assert layout.read(places) is None


def test_a_folder_of_something_else_is_not_taken_over(places: Places) -> None:
    places.data.mkdir()
    (places.data / "thesis.tex").touch()
    with pytest.raises(PreconditionFailed, match="not an instance"):
        layout.read(places)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"layout": "x", "schema": 1}', '{"layout": null, "schema": 1}']
)
def test_a_layout_that_cannot_be_read_is_said_so(places: Places, text: str) -> None:
    places.data.mkdir()
    places.layout.write_text(text)
    with pytest.raises(PreconditionFailed, match="cannot be read"):
        layout.read(places)


@pytest.mark.parametrize("newer", [replace(CURRENT, layout=2), replace(CURRENT, schema=layout.SCHEMA + 1)])
def test_a_newer_folder_is_refused(places: Places, newer: Layout) -> None:
    with pytest.raises(DataInUse, match="newer byoc") as caught:
        layout.check(newer, places)
    assert caught.value.exit_code == 5


def test_a_folder_of_this_version_is_accepted(places: Places) -> None:
    layout.check(CURRENT, places)
    assert not layout.is_older(CURRENT)


@pytest.mark.parametrize(
    ("had", "has"), [("10.11.6", "10.6.18"), ("11.4.2-MariaDB", "10.11.6-MariaDB-0+deb12u1")]
)
def test_an_older_engine_may_not_open_the_volumes(places: Places, had: str, has: str) -> None:
    with pytest.raises(DataInUse, match="engine"):
        layout.check_engine(replace(CURRENT, engine_version=had), has, places)


@pytest.mark.parametrize(
    ("had", "has"), [("", "10.6.1"), ("10.11.6", "10.11.2"), ("10.11.6", "11.4.1-MariaDB")]
)
def test_the_same_or_a_newer_engine_may(places: Places, had: str, has: str) -> None:
    layout.check_engine(replace(CURRENT, engine_version=had), has, places)
    assert layout.engine_key(has) >= layout.engine_key(had)


def test_an_older_folder_is_copied_before_it_is_changed(places: Places) -> None:
    old = replace(CURRENT, schema=0)
    write(places, layout.to_json(old))
    places.controlplane.mkdir()
    (places.controlplane / "byoc.sqlite").write_text("rows")
    (places.volumes / "w1").mkdir(parents=True)
    (places.volumes / "w1" / "ibdata1").write_text("large")

    kept = layout.back_up(places, old, "20300101T000000Z")
    new = layout.migrate(places, old)

    assert kept.name == "20300101T000000Z-layout1-schema0"
    assert (kept / "controlplane" / "byoc.sqlite").read_text() == "rows"
    assert json.loads((kept / "layout.json").read_text())["schema"] == 0
    assert not (kept / "cell" / "volumes").exists()
    assert new == CURRENT
    assert layout.read(places) == CURRENT


def test_a_backup_that_was_cut_short_is_made_anew(places: Places) -> None:
    write(places, layout.to_json(CURRENT))
    half = places.backups / f".now-layout1-schema{layout.SCHEMA}"
    half.mkdir(parents=True)
    (half / "rest").touch()
    kept = layout.back_up(places, CURRENT, "now")
    assert [entry.name for entry in places.backups.iterdir()] == [kept.name]
    assert [entry.name for entry in kept.iterdir()] == ["layout.json"]


def test_each_layout_before_this_one_has_a_way_forward() -> None:
    assert set(layout.MIGRATIONS) == set(range(1, layout.LAYOUT))


def test_the_schema_s_version_counts_the_store_s_migrations() -> None:
    folder = Path(layout.__file__).parents[1] / "store" / "migrations" / "versions"
    assert len(list(folder.glob("v*.py"))) == layout.SCHEMA
