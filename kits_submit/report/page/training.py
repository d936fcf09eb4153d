"""A training's folder as a page: curves, montage, held-out cases, how it was made. Reads the files that it wrote."""

from __future__ import annotations

import base64
import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kits_submit.report.page.cohort import Cohort, Column, Entry
from kits_submit.report.page.html import esc
from kits_submit.report.page.page import CasePages, write_report
from kits_submit.report.page.plots import curves

_LOSS, _VALIDATION, _SCORES = "loss.csv", "validation.csv", "scores.csv"
_PICTURES = (("montage.png", "Held-out cases: truth in full lines, prediction in broken ones"),)
_TEXTS = ("config.toml", "config.json", "recipe.json", "split.json")
_MOST_POINTS = 400  # of a curve
_REFRESH_S = 10


def is_training(folder: Path) -> bool:
    """Whether a training wrote into the folder."""
    return (folder / _LOSS).is_file()


def watch_training(folder: Path, out: Path) -> None:
    """Write the page whenever the training has gone on, until a signal ends it; the page reloads itself.

    Raises:
        OutputError: it cannot be written.
    """
    seen = -1.0
    while True:
        changed = max((folder / name).stat().st_mtime for name in (_LOSS, _VALIDATION) if (folder / name).is_file())
        if changed != seen:
            write_training(folder, out, refresh=True)
            seen = changed
        time.sleep(_REFRESH_S / 2)


def write_training(folder: Path, out: Path, *, refresh: bool = False) -> None:
    """Write the page.

    Args:
        refresh: it reloads itself every ten seconds.

    Raises:
        OutputError: it cannot be written.
    """
    losses, held_out = (_rows(folder / name) for name in (_LOSS, _VALIDATION))
    head = f'<meta http-equiv="refresh" content="{_REFRESH_S}">\n' if refresh else ""
    drawn = "".join(_png(folder / name, caption) for name, caption in _PICTURES)
    made = "".join(_text(folder / name) for name in _TEXTS)
    write_report(
        _cohort(folder, held_out),
        CasePages(out),
        f"<section aria-labelledby='made'><h2 id='made'>How it was made</h2>\n{made}</section>\n" if made else "",
        head=head,
        before=f'<div class="plots">{_curves(losses, held_out)}</div>\n{drawn}',
    )


def _cohort(folder: Path, held_out: Sequence[Mapping[str, str]]) -> Cohort:
    """The held-out cases, as they were scored last."""
    last = max((int(row["step"]) for row in held_out), default=0)
    rows = [row for row in held_out if int(row["step"]) == last]
    measures = [key for key in (rows[0] if rows else {}) if key not in ("step", "epoch", "case_id")]
    columns = [Column(key, key.replace("_", " "), -1, _four) for key in measures]
    entries = [
        Entry(row["case_id"], "held out", f"step {last}", {key: float(row[key]) for key in measures}) for row in rows
    ]
    return Cohort(f"kits-submit training: {folder.resolve().name}", columns, entries)


def _curves(losses: Sequence[Mapping[str, str]], held_out: Sequence[Mapping[str, str]]) -> str:
    kept = losses[:: max(1, len(losses) // _MOST_POINTS)]
    steps = [float(row["step"]) for row in kept]
    names = [name for name in ("loss", "tversky", "focal") if losses and name in losses[0]]
    drawn = curves("Training loss by step", [(name, steps, [float(row[name]) for row in kept]) for name in names])
    if losses and "learning_rate" in losses[0]:
        drawn += curves(
            "Learning rate by step", [("learning rate", steps, [float(row["learning_rate"]) for row in kept])]
        )
    at = sorted({int(row["step"]) for row in held_out})
    lines = []
    for name in ("kidney_dice", "tumor_dice"):
        if held_out and name in held_out[0]:
            means = [_mean([float(row[name]) for row in held_out if int(row["step"]) == step]) for step in at]
            lines.append((name.replace("_", " "), [float(step) for step in at], means))
    return drawn + curves("Dice of held-out cases by step, unrefined", lines)


def _rows(path: Path) -> list[dict[str, str]]:
    """The whole lines of a journal; the last may be half written."""
    text = path.read_text() if path.is_file() else ""
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))


def _png(path: Path, caption: str) -> str:
    if not path.is_file():
        return ""
    coded = base64.b64encode(path.read_bytes()).decode()
    picture = f'<img src="data:image/png;base64,{coded}" alt="{esc(caption)}">'
    return f'<figure class="picture">{picture}<figcaption>{esc(caption)}</figcaption></figure>\n'


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    return f"<details><summary>{esc(path.name)}</summary><pre>{esc(path.read_text())}</pre></details>\n"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
