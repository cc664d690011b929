"""Pieces of HTML and the style of the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
:root { --ink: #1c2733; --soft: #5c6b7a; --line: #dde3ea; --paper: #fff; --back: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
header { background: var(--ink); color: #fff; padding: 1.6rem max(1.2rem, calc(50vw - 540px)); }
header h1 { margin: 0; font-size: 1.6rem; }
header p { margin: .3rem 0 0; color: #c9d3dd; }
main { max-width: 1080px; margin: 0 auto; padding: 1.2rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.3rem 1.2rem;
  margin-bottom: 1.2rem; }
h2 { margin: 0 0 .2rem; font-size: 1.15rem; }
.note { color: var(--soft); margin: 0 0 .8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
tr:last-child td { border-bottom: none; }
.number { text-align: right; white-space: nowrap; }
.tight th, .tight td { padding-left: .25rem; padding-right: .25rem; white-space: nowrap; }
.compact td { white-space: nowrap; padding: .22rem .7rem; }
.compact td:last-child { white-space: normal; color: var(--soft); }
.picture { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.columns table { display: block; columns: 2; column-gap: 2.5rem; }
.columns thead { display: none; }
.columns tbody { display: block; }
.columns tr { display: flex; justify-content: space-between; gap: 1rem; break-inside: avoid;
  border-bottom: 1px solid var(--line); }
.columns td { border: none; padding: .25rem 0; }
.columns td:first-child { color: var(--soft); }
.columns td:last-child { text-align: right; overflow-wrap: anywhere; }
.example { display: flex; gap: .5rem; align-items: center; margin-bottom: .5rem; }
.verification { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); }
.example span { color: var(--soft); }
figure { margin: 0; width: 104px; }
figure img, .gone { display: block; width: 100%; aspect-ratio: 1; border: 4px solid var(--line); border-radius: 6px; }
.gone { background: var(--back); color: var(--soft); display: grid; place-items: center; font-size: .8rem; }
figcaption { text-align: center; color: var(--soft); font-size: .78rem; }
.query { margin-right: 1rem; }
.query img { border-color: var(--ink); }
.hit img { border-color: #1a9850; }
.miss img { border-color: #d73027; }
@media (max-width: 700px) { .columns table { columns: 1; } figure { width: 64px; } }
"""


def panel(title: str, content: str, note: str = "", *, columns: bool = False) -> str:
    """A section of the page."""
    text = f'<p class="note">{escape(note)}</p>' if note else ""
    kind = ' class="columns"' if columns else ""
    return f"<section{kind}><h2>{escape(title)}</h2>{text}{content}</section>"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    first_numeric: int | None = None,
    last_numeric: int = 10**6,
    kind: str = "",
) -> str:
    """A table; columns from ``first_numeric`` to ``last_numeric`` are aligned to the right."""

    def cell(tag: str, column: int, text: str) -> str:
        numeric = first_numeric is not None and first_numeric <= column <= last_numeric
        return f"<{tag}{' class=number' if numeric else ''}>{escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(headings))
    body = "".join(f"<tr>{''.join(cell('td', column, text) for column, text in enumerate(row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def figure(uri: str, description: str) -> str:
    """A picture."""
    return f'<img class="picture" src="{uri}" alt="{escape(description)}">'
