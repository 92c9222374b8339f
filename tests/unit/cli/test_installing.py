"""What ``byoc cell install`` reads of the engine that a cell's workspaces are to have."""

import json
from pathlib import Path

import pytest

from byoc.errors import UsageError
from byoc_cli.chosen_engine import engine_settings

IMAGE = "registry.example/singlestore/node:8.9.3@sha256:" + 64 * "0"


def written(folder: Path, text: str) -> Path:
    path = folder / "engine.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_it_is_the_usual_engine() -> None:
    assert engine_settings(None) == {}


def test_a_file_is_handed_on_as_it_is(tmp_path: Path) -> None:
    said = {"engine": "singlestore", "image": IMAGE, "operatorImage": IMAGE}
    assert engine_settings(written(tmp_path, json.dumps(said))) == said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"engine": "oracle"}', "kubernetes.engine: cannot be `oracle`"),
        ('{"engine": "singlestore"}', "kubernetes.image is missing"),
        ('{"flavour": 1}', "`flavour` is no setting"),
    ],
)
def test_what_the_cell_would_refuse_is_refused_before_anything_is_made(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(UsageError) as refused:
        engine_settings(written(tmp_path, text))
    assert told in refused.value.message
