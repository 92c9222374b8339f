import json
from pathlib import Path

import pytest

from byoc.embedded import layout
from byoc.embedded.down import down
from byoc.embedded.layout import Layout
from byoc.embedded.places import Places
from byoc.errors import PreconditionFailed


def test_nothing_to_stop_is_no_error(tmp_path: Path) -> None:
    stopped = down(tmp_path / "none", environment={"HOME": str(tmp_path)})
    assert (stopped.processes, stopped.deleted) == ((), False)
    assert not (tmp_path / "none").exists()


def test_a_folder_of_something_else_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(PreconditionFailed, match="not an instance"):
        down(tmp_path, delete_data=True, environment={"HOME": str(tmp_path)})
    assert (tmp_path / "thesis.tex").exists()


def test_an_instance_s_folder_is_deleted_when_asked(tmp_path: Path) -> None:
    places = Places(tmp_path / "data")
    (places.volumes / "w1").mkdir(parents=True)
    places.layout.write_text(json.dumps(layout.to_json(Layout())))
    (places.data / "link").symlink_to(tmp_path)
    environment = {"HOME": str(tmp_path)}
    assert not down(places.data, environment=environment).deleted
    assert places.layout.exists()
    assert down(places.data, delete_data=True, environment=environment).deleted
    assert not places.data.exists()
    assert tmp_path.exists()


def test_links_to_the_outside_are_removed_not_followed(tmp_path: Path) -> None:
    places = Places(tmp_path / "data")
    places.data.mkdir()
    places.layout.write_text(json.dumps(layout.to_json(Layout())))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.tex").touch()
    (places.data / "volumes").symlink_to(outside)
    down(places.data, delete_data=True, environment={"HOME": str(tmp_path)})
    assert (outside / "thesis.tex").exists()
