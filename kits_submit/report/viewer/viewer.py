"""The viewer's part of a page: its controls, its data, and NiiVue. What it does stands in `assets/viewer.js`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kits_submit.report.colours import ERRORS, colours, lighter
from kits_submit.report.findings import Finding
from kits_submit.report.page.html import asset, data_island, esc, script_text
from kits_submit.report.planes import place
from kits_submit.report.scene import Scene
from kits_submit.report.viewer.packing import Packed

NIIVUE = "niivue-0.69.0.umd.js.gz"
_VIEWS = (
    ("multi", "Three planes"), ("axial", "Axial"), ("coronal", "Coronal"), ("sagittal", "Sagittal"), ("surface", "3-D"),
)  # fmt: skip
_WINDOWS = (("abdomen", "Abdomen"), ("bone", "Bone"), ("wide", "Wide"))
_STYLES = (("outline", "Outlines"), ("fill", "Fills"))
_KEYS = (
    ("up, down", "slices, five with Shift; Page up, Page down: ten"),
    ("left, right", "the list's lesions and errors in turn"),
    ("1 to 5", "three planes, axial, coronal, sagittal, 3-D"),
    ("W", "the next window"),
    ("P, L, E", "prediction, label, errors on or off"),
    ("O, [, ]", "outlines or fills; their opacity"),
    ("mouse", "click or drag: cross-hair; wheel: slices; right button: window; in 3-D: turn"),
)


@cache
def scripts() -> str:
    """All that a page with a viewer runs, but NiiVue, which it unpacks when a case is opened."""
    return script_text("mesh.js", "volumes.js", "viewer.js", "controls.js", "page.js")


@cache
def library() -> str:
    """NiiVue as a data island."""
    return data_island("niivue", asset(NIIVUE))


def viewer_html(number: int, findings: list[Finding]) -> str:
    """The controls of case `number`, hidden until its script finds WebGL 2."""
    return (
        f'<div class="viewer" id="viewer-{number}" data-case="{number}" hidden>\n'
        f'<div class="toolbar">{_buttons("Planes", "view", _VIEWS)}{_buttons("Window", "window", _WINDOWS)}'
        f'{_buttons("Masks as", "style", _STYLES)}<fieldset class="overlays"><legend>Shown</legend></fieldset>'
        f'<label>Opacity <input type="range" name="opacity" min="0.1" max="1" step="0.05" value="0.6"></label></div>\n'
        f'<div class="stage"><canvas tabindex="0" aria-label="Scan with masks; keys are listed below"></canvas></div>\n'
        f'<label class="slices">Slice <input type="range" class="slice" name="slice" min="0" max="1" value="0"></label>'
        f'<p class="where" aria-live="off"></p>\n{_jumps(findings)}'
        f"<details><summary>Keys and mouse</summary><dl>"
        f"{''.join(f'<dt>{esc(key)}</dt><dd>{esc(what)}</dd>' for key, what in _KEYS)}</dl></details></div>\n"
        f'<p class="without" id="without-{number}" hidden>This browser has no WebGL 2, which the viewer needs: '
        f"the pictures show the same places.</p>\n"
    )


def viewer_data(number: int, scene: Scene, packed: Packed) -> str:
    """The data islands of case `number`."""
    islands = {"scan": packed.hu, "prediction": packed.predicted, "label": packed.truth}
    there = {name: content for name, content in islands.items() if content is not None}
    sources = {name: {"island": f"{name}-{number}"} for name in there}
    told = data_island(f"case-data-{number}", viewer_facts(scene, packed, sources))
    return told + "".join(data_island(f"{name}-{number}", content) for name, content in there.items())


def viewer_facts(scene: Scene, packed: Packed, sources: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the viewer's script knows of a scene: where its volumes are, colours, and places to jump to."""
    palette = colours(scene.labels)
    names = [scene.labels.names[n] for n in scene.labels.foreground]
    kinds = {"prediction": list(palette.values()), "label": [lighter(colour) for colour in palette.values()]}
    overlays = [
        {"name": name, "source": sources[name], "colours": rgb, "names": names}
        for name, rgb in kinds.items()
        if name in sources
    ]
    return {
        "scan": sources.get("scan"),
        "overlays": overlays,
        "errors_of": [0, 1] if "label" in sources else None,
        "error_colours": list(ERRORS.values()),
        "solid": list(scene.labels.mass),
        "shape": scene.predicted.shape,
        "spacing_mm": scene.spacing_mm,
        "packed_mm": packed.spacing_mm,
        "start": place(scene.predicted, scene.labels),
        "findings": [{"what": finding.what, "at": finding.at} for finding in (*scene.lesions, *scene.errors)],
    }


def _buttons(name: str, act: str, choices: tuple[tuple[str, str], ...]) -> str:
    inner = "".join(
        f'<button type="button" data-act="{act}" data-value="{value}" aria-pressed="false">{words}</button>'
        for value, words in choices
    )
    return f'<fieldset><legend>{name}</legend><span class="group">{inner}</span></fieldset>'


def _jumps(findings: list[Finding]) -> str:
    groups: dict[str, str] = {}
    for number, finding in enumerate(findings):
        kind = finding.kind if finding.kind in ("prediction", "label") else "errors"
        size = "" if finding.diameter_mm is None else f", {finding.diameter_mm:.0f} mm"
        words = esc(f"{finding.what}, {finding.ml:.1f} mL{size}")
        groups[kind] = groups.get(kind, "") + (
            f'<li><button type="button" data-act="jump" data-value="{number}">'
            f'<i class="swatch {esc(_swatch(finding))}"></i>{words}</button></li>'
        )
    lists = "".join(f"<div><h4>{kind.capitalize()}</h4><ul>{items}</ul></div>" for kind, items in groups.items())
    return f'<nav class="jumps" aria-label="Lesions and errors">{lists}</nav>\n' if lists else ""


def _swatch(finding: Finding) -> str:
    return finding.kind if finding.kind in ERRORS else finding.what.replace(" ", "-")
