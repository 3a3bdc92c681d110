"""A self-contained HTML page: sections, tables and facts, for a phone and a desktop, in light and dark. Loads nothing.

Every text that is given is escaped; what is HTML already says so by its type.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NewType

from brainbrr.core.digest import sha256

Html = NewType("Html", str)
"""Text whose parts from files are escaped."""

_CARDS_FROM = 4
"""Tables of so many columns become cards on a phone."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1c1c1c;--quiet:#5c5c5c;--line:#d9d9d9;--panel:#f5f5f5;
--left:#1d4e89;--right:#9c3a0b;--middle:#262626;--detector:#1f6fc4;--baseline:#767676;--seizure:#e69f00;
--pale:#bcd6f2;--ovlp:#b34700;--taes:#007a5a;--good:#00694b;--bad:#a02800}
@media(prefers-color-scheme:dark){:root{--back:#16181c;--text:#e6e6e6;--quiet:#a5a9b0;--line:#3a3e45;--panel:#21242a;
--left:#7db8f0;--right:#f0a070;--middle:#d0d0d0;--detector:#6cb0f5;--baseline:#9a9a9a;--seizure:#f0b429;
--pale:#2b4a6d;--ovlp:#f0935a;--taes:#4cc9a4;--good:#4cc9a4;--bad:#f58f6c}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:1100px;margin:0 auto;
padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.5rem 0 .2rem;line-height:1.25}h2{font-size:1.15rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}a{color:var(--detector)}
nav{display:flex;flex-wrap:wrap;gap:.2rem .9rem;margin:.6rem 0;font-size:.9em}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;
border-bottom:1px solid var(--line)}th{font-weight:600;color:var(--quiet)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
th.group{padding-top:.9rem;color:var(--detector)}
table.facts{width:auto}table.facts th{white-space:nowrap;padding-left:0}
code{font-size:.88em;font-family:ui-monospace,monospace}
.synthetic{background:#7a1f00;color:#fff;padding:.5rem .8rem;font-weight:600}.note{color:var(--quiet);font-size:.9em}
.bar{display:inline-block;width:6em;height:.7em;margin-left:.6em;
background:linear-gradient(to right,var(--detector) var(--share),transparent var(--share))}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
summary{cursor:pointer;padding:.2rem 0}:focus-visible{outline:3px solid var(--detector);outline-offset:2px}
svg{width:100%;max-width:860px;height:auto;display:block;overflow:visible}
svg text{font:12px system-ui,sans-serif;fill:var(--quiet)}
@media(max-width:640px){table.cards,table.cards tbody,table.cards tr,table.cards td{display:block;width:auto}
table.cards thead{display:none}table.cards tr{border-bottom:1px solid var(--line);padding:.4rem 0}
table.cards td{border:0;padding:.05rem 0;text-align:left;display:flex;gap:.6rem;align-items:baseline}
table.cards td::before{content:attr(data-name);color:var(--quiet);flex:0 0 40%}
table.cards td:empty{display:none}table.facts th{white-space:normal;width:32%}
table.facts{width:100%}svg text{font-size:19px}.bar{display:none}}
@media print{tr,svg{break-inside:avoid}.screen{display:none}}
"""


@dataclass(frozen=True)
class Section:
    """One part of a page, with its heading."""

    title: str
    html: Html


@dataclass(frozen=True)
class Number:
    """A cell that is aligned at its right; `share` of a bar beside it, from 0 to 1."""

    text: str
    share: float | None = None


Cell = str | Number


def page(
    title: str,
    sections: Sequence[Section],
    *,
    note: str = "",
    warning: str = "",
    data: Mapping[str, str] | None = None,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> bytes:
    """Return a page. `data`: JSON by the id of its element; `scripts` run last, and no other script can run at all."""
    texts = {name: json.replace("<", "\\u003c") for name, json in (data or {}).items()}
    elements = [f'<script type="application/json" id="{escape(name)}">{json}</script>' for name, json in texts.items()]
    run = [f"<script>{script}</script>" for script in scripts]
    may_run = " ".join(f"'sha256-{_base64(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {may_run}"
    links = "".join(f'<a href="#{_anchor(each.title)}">{escape(each.title)}</a>' for each in sections)
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(note)}</p>' if note else "",
        f'<p class="synthetic">{escape(warning)}</p>' if warning else "",
        f'<nav class="screen" aria-label="Sections">{links}</nav><main>',
        *(
            f'<section><h2 id="{_anchor(each.title)}">{escape(each.title)}</h2>{each.html}</section>'
            for each in sections
        ),
        "</main>",
    ]
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{''.join(styles)}</style></head>"
        f"<body>{''.join([*body, *elements, *run])}</body></html>\n"
    )
    return text.encode("utf-8", "backslashreplace")


def table(head: Sequence[str], rows: Iterable[Sequence[Cell] | str]) -> Html:
    """Return a table; a row that is a text heads those below. On a phone rows of many columns become cards."""
    rows = list(rows)
    first = next((row for row in rows if not isinstance(row, str)), ())
    numbers = [isinstance(cell, Number) for cell in first] or [False] * len(head)
    top = "".join(f"<th{' class=n' if n else ''}>{escape(name)}</th>" for name, n in zip(head, numbers, strict=True))
    body = "".join(
        f'<tr><th class="group" colspan="{len(head)}">{escape(row)}</th></tr>'
        if isinstance(row, str)
        else "<tr>" + "".join(_cell(name, cell) for name, cell in zip(head, row, strict=True)) + "</tr>"
        for row in rows
    )
    kind = ' class="cards"' if len(head) >= _CARDS_FROM else ""
    return Html(f"<table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")


def _cell(name: str, cell: Cell) -> str:
    named = f'data-name="{escape(name)}"'
    if isinstance(cell, str):
        return f"<td {named}>{escape(cell)}</td>"
    share = None if cell.share is None else min(max(cell.share, 0), 1)
    bar = "" if share is None else f'<span class="bar" style="--share:{share:.1%}"></span>'
    return f"<td {named} class=n>{escape(cell.text)}{bar}</td>"


def facts(rows: Iterable[tuple[str, str]]) -> Html:
    """Return names and values."""
    cells = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return Html(f'<table class="facts"><tbody>{cells}</tbody></table>')


def text(words: str, *, kind: str = "") -> Html:
    """Return a paragraph; `kind`: note, good or bad."""
    return Html(f"<p{f' class={kind}' if kind else ''}>{escape(words)}</p>")


def folded(summary: str, inner: Html, *, is_open: bool = False) -> Html:
    """Return something that opens when its summary is chosen."""
    return Html(f"<details{' open' if is_open else ''}><summary>{escape(summary)}</summary>{inner}</details>")


def join(*parts: str) -> Html:
    """Return parts one after the other."""
    return Html("".join(parts))


def _anchor(title: str) -> str:
    return "about-" + "".join(char if char.isalnum() else "-" for char in title.lower())


def _base64(script: str) -> str:
    return b64encode(bytes.fromhex(sha256(script.encode()))).decode()
