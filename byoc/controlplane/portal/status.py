"""The status page at ``/``: one self-contained HTML page. Pure; called by its route.

It shows counts and names of cells only, because it asks for no key. Everything that did not
come from this file is escaped, and the page's policy forbids scripts and outside assets.
"""

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Final

from byoc.clock import stamp
from byoc.controlplane.api.service import CellSummary, Overview

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="10">
<title>byoc control plane</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8885 }}
.good {{ color: #1a7f37 }} .bad {{ color: #cf222e }} small {{ color: #888 }}
</style>
</head>
<body>
<h1>byoc control plane</h1>
<p class="{tone}"><strong>{summary}</strong></p>
{reasons}
<h2>Cells</h2>
{cells}
<h2>Workspaces</h2>
{workspaces}
<p><small>version {version} · {now} · <a href="/byoc/v1/openapi.json">API description</a> ·
<a href="/metrics">metrics</a> · <a href="/readyz">readiness</a></small></p>
</body>
</html>
"""


def render(overview: Overview, unready: Mapping[str, str], *, version: str, now: datetime) -> str:
    """Return the page.

    Args:
        overview: what there is.
        unready: what is not ready and why.
        version: of this software.
        now: printed at the bottom.
    """
    return _PAGE.format(
        tone="bad" if unready else "good",
        summary="not ready" if unready else "ready",
        reasons=_list([f"{name}: {reason}" for name, reason in unready.items()]),
        cells=_cells(overview.cells),
        workspaces=_counts(overview),
        version=escape(version),
        now=escape(stamp(now.replace(microsecond=0))),
    )


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _cells(cells: tuple[CellSummary, ...]) -> str:
    if not cells:
        return "<p>none yet</p>"
    rows = "".join(
        f"<tr><td>{escape(cell.name)}</td><td>{escape(cell.region)}</td><td>{escape(cell.state)}</td>"
        f"<td>{'connected' if cell.connected else 'not connected'}</td></tr>"
        for cell in cells
    )
    connected = sum(cell.connected for cell in cells)
    heads = "<tr><th>cell</th><th>region</th><th>state</th><th>tunnel</th></tr>"
    return f"<p>{connected} of {len(cells)} connected</p><table>{heads}{rows}</table>"


def _counts(overview: Overview) -> str:
    lines = [f"workspace groups: {overview.groups}"]
    lines += [f"{state}: {count}" for state, count in sorted(overview.workspaces.items())]
    return _list(lines)
