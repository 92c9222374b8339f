"""The status page at ``/``: one self-contained HTML page. Pure; called by its route.

It shows counts and no names, because it asks for no key. Everything that did not come from this
file is escaped, and the page's policy forbids scripts and outside assets.
"""

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Final

from byoc.clock import stamp
from byoc.controlplane.api.service import Overview

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
.pill::before {{ content: "\\25cf\\a0" }}
.tiles {{ display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); margin: 0 }}
.tiles div {{ display: flex; flex-direction: column-reverse; padding: .7rem .9rem }}
.tiles dd {{ font-size: 1.7rem; line-height: 1.2; margin: 0; font-variant-numeric: tabular-nums }}
.tiles dt {{ color: var(--soft); font-size: .85rem }}
.empty, .reasons {{ margin: 0; padding: .8rem 1rem }}
.reasons {{ border-color: var(--bad); margin-top: 1rem; padding-left: 2rem }}
code {{ overflow-wrap: anywhere }}
footer {{ font-size: .85rem; margin-top: 2rem }}
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
_TONES: Final = {
    "ACTIVE": "good", "PENDING": "busy", "FAILED": "bad", "connected": "good", "not connected": "bad",
    "contested": "bad",
}  # fmt: skip
_ORDER: Final = ("FAILED", "PENDING", "ACTIVE", "SUSPENDED", "not connected", "contested", "connected")
_SHOWN_OTHERWISE: Final = "enrolled"
"""Of enrolled cells the page says whether they are connected."""


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
    cells = sum(overview.cells.values())
    return _PAGE.format(
        title=f"{said} - byoc control plane",
        tone="bad" if unready else "good",
        summary=summary,
        reasons=_list([f"{name}: {reason}" for name, reason in unready.items()]),
        connected=f"{overview.connected} of {cells} connected" if cells else "",
        cells=_tiles(_cells(overview)) or _empty("byoc cell enrol NAME", "lets one in"),
        groups=f"{sum(overview.workspaces.values())} in {_number(overview.groups, 'group')}",
        workspaces=_tiles(overview.workspaces)
        or _empty("byoc workspace create NAME --group GROUP", "makes one"),
        version=escape(version),
        now=escape(stamp(now.replace(microsecond=0))),
    )


def _list(lines: list[str]) -> str:
    if not lines:
        return ""
    return '<ul class="card reasons">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _cells(overview: Overview) -> dict[str, int]:
    """Say of enrolled cells whether they are connected; of the others their state."""
    others = {state: count for state, count in overview.cells.items() if state != _SHOWN_OTHERWISE}
    return {"connected": overview.connected, "not connected": overview.lost} | others


def _empty(command: str, what: str) -> str:
    return f'<p class="card empty soft">none yet: <code>{command}</code> {what}</p>'


def _tiles(counts: Mapping[str, int]) -> str:
    known = [name for name in _ORDER if counts.get(name)]
    others = sorted(name for name in counts.keys() - set(_ORDER) if counts[name])
    tiles = "".join(
        f'<div class="card"><dt>{escape(name)}</dt>'
        f'<dd class="{_TONES.get(name, "")}">{counts[name]}</dd></div>'
        for name in [*known, *others]
    )
    return f'<dl class="tiles">{tiles}</dl>' if tiles else ""


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
