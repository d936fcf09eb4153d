"""A report from a run's folder: each case looked at, its row made of what the run, the masks and the scores say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kits_submit.errors import KitsError
from kits_submit.labels import LabelSet
from kits_submit.report.page.case_page import numbers_html, view_case
from kits_submit.report.page.cohort import Cohort, Column, Entry, Scores
from kits_submit.report.page.page import CasePages, write_report
from kits_submit.report.scene import Scene, read_scene

_SIZE, _SECONDS = "largest_true_tumor_mm", "seconds"


@dataclass(frozen=True)
class CaseFiles:
    """One case's files; `image` and `label` where they are at hand, `prediction` where one was made."""

    case: str
    prediction: Path | None
    image: Path | None = None
    label: Path | None = None


@dataclass(frozen=True)
class Request:
    """What to report.

    - `entries`: `run.json`'s, by case; empty where there is no such file. `made`, `before`: HTML for `write_report`.
    - `hu_offset`: added to each value of the images, as the run did.
    - `full`: keep every voxel for the viewer, in pages of their own. `on_scene`: told each case that was read.
    - `tell`: told each case that cannot be shown, in a line.
    """

    title: str
    out: Path
    files: Sequence[CaseFiles]
    labels: LabelSet
    scores: Scores = field(default_factory=Scores)
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made: str = ""
    before: str = ""
    full: bool = False
    hu_offset: float = 0.0
    on_scene: Callable[[Scene], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None


def build_report(request: Request) -> CasePages:
    """Write the report; a case that cannot be read has a row and no pictures.

    Raises:
        OutputError: a page cannot be written.
    """
    pages = CasePages(request.out, apart=request.full)
    rows = []
    columns = _columns(request)
    for number, files in enumerate(request.files):
        entry = _told(request, files.case)
        scene = _scene(request, files)
        if scene is not None:
            entry = _measured(entry, scene)
            told = [(c.label, c.shown(entry.values[c.key])) for c in columns if entry.values.get(c.key) is not None]
            pages.add(view_case(number, scene, numbers_html(told, entry.notes), full=request.full))
            request.on_scene(scene)
        rows.append(entry)
    known = {key for row in rows for key, value in row.values.items() if value is not None}
    shown = [column for column in columns if column.key in known]
    names = [request.labels.names[n] for n in request.labels.foreground]
    cohort = Cohort(
        title=request.title,
        columns=shown,
        entries=rows,
        intervals=request.scores.intervals,
        truths={name: (f"{name}_ml", f"true_{name}_ml") for name in names},
        size_key=_SIZE,
        size_score=request.scores.size_score,
        policy=request.scores.policy,
    )
    write_report(cohort, pages, request.made, before=request.before)
    return pages


def _columns(request: Request) -> list[Column]:
    names = [request.labels.names[n] for n in request.labels.foreground]
    return [
        *(Column(f"{name}_ml", f"{name} mL") for name in names),
        *(Column(f"true_{name}_ml", f"true {name} mL") for name in names),
        Column(_SIZE, "largest true tumor mm"),
        *request.scores.columns,
        Column(_SECONDS, "seconds"),
    ]


def _told(request: Request, case: str) -> Entry:
    """What the run and the scores say of a case."""
    entry = request.entries.get(case, {})
    notes = [str(entry.get("error") or ""), *map(str, entry.get("retried") or ()), *_own_notes(entry)]
    notes.append(request.scores.notes.get(case, ""))
    values: dict[str, float | None] = dict(request.scores.values.get(case, {}))
    values |= {f"{name}_ml": ml for name, ml in (entry.get("volume_ml") or {}).items()}
    if entry.get("wall_seconds"):
        values[_SECONDS] = entry["wall_seconds"]
    status = str(entry.get("status", "done"))
    if status == "done" and request.scores.notes.get(case):
        status = "not scored"
    return Entry(case, status, "; ".join(dict.fromkeys(note for note in notes if note)), values)


def _own_notes(entry: Mapping[str, Any]) -> list[str]:
    notes = entry.get("notes") or ()
    return [notes] if isinstance(notes, str) else [str(note) for note in notes]


def _scene(request: Request, files: CaseFiles) -> Scene | None:
    if files.prediction is None:
        return None
    try:
        return read_scene(
            files.case, files.image, files.prediction, files.label, labels=request.labels, hu_offset=request.hu_offset
        )
    except KitsError as error:
        request.tell(f"{files.case} is not shown: {error}")
        return None


def _measured(entry: Entry, scene: Scene) -> Entry:
    """The row with what the masks themselves say."""
    values = dict(entry.values)
    values |= {f"{name}_ml": ml for name, ml in scene.volumes_ml(scene.predicted).items()}
    if scene.truth is not None:
        values |= {f"true_{name}_ml": ml for name, ml in scene.volumes_ml(scene.truth).items()}
        tumors = {scene.labels.names[n] for n in scene.labels.tumor}
        sizes = [f.diameter_mm or 0.0 for f in scene.lesions if f.kind == "label" and f.what in tumors]
        values[_SIZE] = max(sizes, default=None)
    return Entry(entry.case, entry.status, entry.notes, values)
