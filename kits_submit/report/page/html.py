"""HTML as text: everything that comes from outside is escaped, and a page's own policy forbids every request.

A page carries its scripts inline, each allowed by its hash; a script that a case's name brought along would not run
even if it came through.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; "
    "form-action 'none'; connect-src {connect}; script-src blob: {hashes}"
)


def esc(text: object) -> str:
    """Text as HTML has it, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def asset(name: str) -> bytes:
    """A file that lies beside this module."""
    return files("kits_submit.report").joinpath("assets", name).read_bytes()


def script_text(*names: str) -> str:
    """Scripts one after the other, as one."""
    return "\n".join(asset(name).decode() for name in names)


def data_island(name: str, content: Mapping[str, Any] | bytes) -> str:
    """Data that the page's scripts read and the browser does not run: JSON, or bytes as base64."""
    if isinstance(content, bytes):
        text, kind = base64.b64encode(content).decode(), "application/octet-stream"
    else:
        text, kind = json.dumps(content, allow_nan=False).replace("<", "\\u003c"), "application/json"
    return f'<script type="{kind}" id="{esc(name)}">{text}</script>\n'


def image(content: bytes, alt: str) -> str:
    """A WebP picture in the page."""
    coded = base64.b64encode(content).decode()
    return f'<img src="data:image/webp;base64,{coded}" alt="{esc(alt)}" loading="lazy" decoding="async">'


def document(
    title: str, body: str, scripts: Sequence[str] = (), *, connect: str = "data: blob:", head: str = ""
) -> str:
    """A whole page.

    Args:
        connect: where the policy lets scripts read from: a local server's page says 'self'.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    policy = _POLICY.format(connect=connect, hashes=hashes)
    code = "".join(f"<script>{text}</script>\n" for text in scripts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{esc(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
{head}<link rel="icon" href="data:,">
<title>{esc(title)}</title>
<style>
{asset("page.css").decode()}</style>
<noscript><style>#cases-shown {{ display: block !important; }}</style></noscript>
</head>
<body>
{body}
{code}</body>
</html>
"""


def table(header: Sequence[str], lines: Iterable[Sequence[object]], caption: str = "") -> str:
    """A plain table: the first column names its row."""
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in header)
    rows = "".join(
        f'<tr><th scope="row">{esc(first)}</th>{"".join(f"<td>{esc(cell)}</td>" for cell in rest)}</tr>\n'
        for first, *rest in lines
    )
    told = f"<caption>{esc(caption)}</caption>" if caption else ""
    inner = f"{told}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="wide"><table class="plain">{inner}</table></div>\n'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values."""
    inner = "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in pairs)
    return f'<dl class="facts">{inner}</dl>\n'
