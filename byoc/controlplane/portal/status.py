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
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="10">
<title>{title}</title>
<style>
:root {{
  color-scheme: light dark;
  --back: #f6f7f9; --card: #fff; --line: #dfe3e8; --text: #1c2128; --soft: #5b6572;
  --good: #1a7f37; --busy: #8a5a00; --bad: #c41c2b; --link: #0b5cad;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --back: #101418; --card: #181e24; --line: #2c353e; --text: #e4e9ee; --soft: #98a4b0;
    --good: #4cc36a; --busy: #e0a83c; --bad: #ff7b72; --link: #6cb2ff;
  }}
}}
* {{ box-sizing: border-box }}
body {{
  background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif;
  max-width: 58rem; margin: 0 auto; padding: 2rem 1rem;
}}
header {{ display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center }}
h1 {{ flex: auto }}
h1 {{ font-size: 1.5rem; margin: 0 }}
h2 {{ font-size: 1rem; margin: 2rem 0 .6rem }}
h2 span {{ color: var(--soft); font-weight: normal }}
a {{ color: var(--link) }}
.good {{ color: var(--good) }} .busy {{ color: var(--busy) }} .bad {{ color: var(--bad) }}
.soft, footer {{ color: var(--soft) }}
.card {{ background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden }}
.pill {{ border: 1px solid currentColor; border-radius: 1rem; padding: .05rem .8rem; font-weight: 600 }}
.pill::before, td.tunnel::before {{ content: "\\25cf\\a0" }}
.tiles {{ display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); margin: 0 }}
.tiles div {{ display: flex; flex-direction: column-reverse; padding: .7rem .9rem }}
.tiles dd {{ font-size: 1.7rem; line-height: 1.2; margin: 0; font-variant-numeric: tabular-nums }}
.tiles dt {{ color: var(--soft); font-size: .85rem }}
.empty, .reasons {{ margin: 0; padding: .8rem 1rem }}
.reasons {{ border-color: var(--bad); margin-top: 1rem; padding-left: 2rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .55rem 1rem }}
td:nth-child(-n+2) {{ overflow-wrap: anywhere }} td:nth-child(n+3) {{ white-space: nowrap }}
th {{ color: var(--soft); font-size: .85rem; font-weight: normal }}
tr + tr {{ border-top: 1px solid var(--line) }}
code {{ overflow-wrap: anywhere }}
footer {{ font-size: .85rem; margin-top: 2rem }}
@media (max-width: 36rem) {{ .wide {{ display: none }} th, td {{ padding: .5rem .7rem }} }}
</style>
</head>
<body>
<header><h1>byoc control plane</h1><strong class="pill {tone}">{summary}</strong></header>
{reasons}
<h2>Cells <span>{connected}</span></h2>
{cells}
<h2>Workspaces <span>{groups}</span></h2>
{workspaces}
<footer>version {version} · as of {now}, new every 10 s ·
<a href="/byoc/v1/openapi.json">API description</a> · <a href="/metrics">metrics</a> ·
<a href="/readyz">readiness</a></footer>
</body>
</html>
"""
_TONES: Final = {"ACTIVE": "good", "PENDING": "busy", "FAILED": "bad"}
_ORDER: Final = ("FAILED", "PENDING", "ACTIVE", "SUSPENDED")


def render(overview: Overview, unready: Mapping[str, str], *, version: str, now: datetime) -> str:
    """Return the page.

    Args:
        overview: what there is.
        unready: what is not ready and why.
        version: of this software.
        now: printed at the bottom.
    """
    failed = overview.workspaces.get("FAILED", 0)
    summary = "not ready" if unready else "ready"
    said = f"{_number(failed, 'workspace')} FAILED" if failed else summary
    connected = sum(cell.connected for cell in overview.cells)
    return _PAGE.format(
        title=f"{said} - byoc control plane",
        tone="bad" if unready else "good",
        summary=summary,
        reasons=_list([f"{name}: {reason}" for name, reason in unready.items()]),
        connected=f"{connected} of {len(overview.cells)} connected" if overview.cells else "",
        cells=_cells(overview.cells),
        groups=f"{sum(overview.workspaces.values())} in {_number(overview.groups, 'group')}",
        workspaces=_counts(overview.workspaces),
        version=escape(version),
        now=escape(stamp(now.replace(microsecond=0))),
    )


def _list(lines: list[str]) -> str:
    if not lines:
        return ""
    return '<ul class="card reasons">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _cells(cells: tuple[CellSummary, ...]) -> str:
    if not cells:
        return '<p class="card empty soft">none yet: <code>byoc cell enrol NAME</code> lets one in</p>'
    heads = '<tr><th>cell</th><th class="wide">region</th><th>state</th><th>tunnel</th></tr>'
    return f'<div class="card"><table>{heads}{"".join(map(_cell, cells))}</table></div>'


def _cell(cell: CellSummary) -> str:
    tone, tunnel = ("good", "connected") if cell.connected else ("bad", "not connected")
    if not cell.connected and cell.state != "enrolled":
        tone = "soft"  # nothing is wrong with a cell that is not to connect
    return (
        f'<tr><td>{escape(cell.name)}</td><td class="wide">{escape(cell.region)}</td>'
        f'<td>{escape(cell.state)}</td><td class="tunnel {tone}">{tunnel}</td></tr>'
    )


def _counts(states: Mapping[str, int]) -> str:
    if not states:
        example = "byoc workspace create NAME --group GROUP"
        return f'<p class="card empty soft">none yet: <code>{example}</code> makes one</p>'
    known = [state for state in _ORDER if states.get(state)]
    tiles = "".join(
        f'<div class="card"><dt>{escape(state)}</dt>'
        f'<dd class="{_TONES.get(state, "")}">{states[state]}</dd></div>'
        for state in [*known, *sorted(states.keys() - set(_ORDER))]
    )
    return f'<dl class="tiles">{tiles}</dl>'


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
