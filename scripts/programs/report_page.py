"""The report's page: plain HTML pieces and their style. Every text is escaped here, and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --line: #e1e6eb; --paper: #ffffff; --ground: #f5f7fa;
        --blue: #1d5fa8; --good: #2f855a; --bad: #c8553d; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 34px; line-height: 1.15; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 0 0 12px; letter-spacing: -0.005em; }
p { margin: 0 0 12px; max-width: 74ch; }
.lead { color: var(--soft); font-size: 17px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 24px 26px;
          margin-top: 22px; }
.verdict { border-left: 5px solid var(--good); border-radius: 8px; background: var(--paper); padding: 12px 18px;
           margin: 18px 0 0; }
.verdict.bad { border-color: var(--bad); }
.verdict p { margin: 0; max-width: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin-top: 20px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
.card .label { font-size: 13px; color: var(--soft); }
.card .value { font-size: 26px; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card .note { font-size: 12.5px; color: var(--soft); }
figure { margin: 6px 0 4px; }
figure img { max-width: 100%; display: block; margin: 0 auto; }
figcaption { font-size: 13.5px; color: var(--soft); margin-top: 8px; }
.strip { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; margin: 14px 0 4px; }
.strip figure { margin: 0; } .strip img { width: 100%; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums;
        margin: 6px 0 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; padding-right: 18px; }
td.good { color: var(--good); font-weight: 600; } td.bad { color: var(--bad); font-weight: 600; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px;
      overflow-x: auto;      font: 13.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; margin: 0 0 12px; }
@media (max-width: 640px) { .strip { grid-template-columns: repeat(2, 1fr); } h1 { font-size: 27px; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""

Mark = Literal["", "number", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One figure in large type."""

    label: str
    value: str
    note: str = ""


def page(title: str, body: Sequence[str]) -> str:
    """Return the whole document; it needs nothing from outside."""
    inner = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{inner}\n</main>\n</body>\n</html>\n"
    )


def header(title: str, lead: str) -> str:
    """Return the page's title and the sentence below it."""
    return f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>'


def section(title: str, *pieces: str) -> str:
    """Return a titled part of the page."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(p for p in pieces if p) + "\n</section>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def verdict(sentences: Sequence[str], good: bool) -> str:
    """Return the box that says whether all is well."""
    inner = "".join(f"<p>{escape(s)}</p>" for s in sentences)
    return f'<div class="verdict{"" if good else " bad"}">{inner}</div>'


def cards(items: Sequence[Card]) -> str:
    """Return a row of cards."""
    inner = "".join(
        f'<div class="card"><div class="label">{escape(c.label)}</div><div class="value">{escape(c.value)}</div>'
        f'<div class="note">{escape(c.note)}</div></div>'
        for c in items
    )
    return f'<div class="cards">{inner}</div>'


def table(head: Sequence[Cell], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table."""
    top = "".join(_cell("th", cell) for cell in head)
    body = "".join("<tr>" + "".join(_cell("td", cell) for cell in row) + "</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cell(tag: str, cell: Cell) -> str:
    mark = f' class="{cell.mark}"' if cell.mark else ""
    return f"<{tag}{mark}>{escape(cell.text)}</{tag}>"


def picture(data: bytes, kind: Literal["png", "gif", "jpeg", "svg+xml"], words: str, caption: str = "") -> str:
    """Return a picture that travels inside the page; `words` stand in for it where it cannot be seen."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{escape(words, quote=True)}">{below}</figure>'


def strip(pictures: Sequence[str]) -> str:
    """Return pictures beside each other."""
    return '<div class="strip">' + "".join(pictures) + "</div>"


def commands(lines: Sequence[str]) -> str:
    """Return lines for a terminal."""
    return "<pre>" + escape("\n".join(lines)) + "</pre>"


def percent(rate: float) -> str:
    """Return a rate in percent, with a decimal where it has one."""
    return f"{100 * rate:.1f}".removesuffix(".0") + " %"
