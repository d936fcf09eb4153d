"""How masks were made, as a page tells it: command, versions, device, Recipe, model card; out of `run.json`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kits_submit.report.page.html import esc, facts, table

_CARD = "MODEL_CARD.md"


def command_line(arguments: list[str] | None = None) -> str:
    """The command of this process, each path shortened to its last part: a report is mailed, a machine's folders are
    not."""
    given = sys.argv if arguments is None else arguments
    return " ".join(Path(part).name or part if "/" in part else part for part in given)


def making_html(run: Mapping[str, Any], model: Path | None = None, command: str = "") -> str:
    """A section of the page; empty where nothing is known.

    Args:
        run: `run.json`. model: the file that was run, where it is at hand: its card lies beside it.
    """
    if not run:
        return ""
    told = run.get("model") or {}
    versions = ", ".join(f"{name} {number}" for name, number in (run.get("versions") or {}).items())
    known = [
        ("command", command or run.get("command", "")),
        ("program", run.get("program", "")),
        ("versions", versions),
        ("engine", run.get("engine", "")),
        ("device", run.get("device", "")),
        ("stepped down", "; ".join(map(str, run.get("stepped_down") or ()))),
        ("model", told.get("file", "")),
        ("SHA-256", told.get("sha256", "")),
        ("whole run", f"{run['seconds']:.1f} s" if run.get("seconds") else ""),
    ]
    inner = facts((name, value) for name, value in known if value)
    recipe = told.get("recipe") or {}
    if recipe:
        inner += f"<details><summary>Recipe</summary>{table(('field', 'value'), _flat(recipe))}</details>\n"
    card = None if model is None else model.with_name(_CARD)
    if card is not None and card.is_file():
        inner += f"<details><summary>Model card</summary><pre>{esc(card.read_text())}</pre></details>\n"
    return f"<section aria-labelledby='made'><h2 id='made'>How it was made</h2>\n{inner}</section>\n"


def _flat(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for name, value in recipe.items():
        if isinstance(value, Mapping):
            lines += [(f"{name}.{inner}", str(one)) for inner, one in value.items()]
        else:
            lines.append((name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return lines
