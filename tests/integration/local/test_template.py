"""The first start of an engine on a machine where others start too."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from byoc.dataplane.local import template
from byoc.dataplane.local.engine import Engine


def test_cells_that_begin_at_once_do_not_take_each_others_temporary_tables(
    engine: Engine, short_path: Path
) -> None:
    folders = [short_path / str(number) for number in range(12)]

    with ThreadPoolExecutor(6) as together:
        made = list(together.map(lambda folder: template.ensure(folder, engine), folders))

    assert all((one / "mysql").is_dir() for one in made)
    left = {path.name for folder in folders for path in folder.iterdir()}
    assert left == {made[0].name, "bootstrap.log"}
