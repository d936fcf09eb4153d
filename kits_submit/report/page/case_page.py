"""One case of a report: its numbers, its pictures, its lesions and errors, and the data of its viewer."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kits_submit.report.colours import ERROR_WORDS, ERRORS
from kits_submit.report.findings import Finding
from kits_submit.report.page.html import esc, facts, image
from kits_submit.report.pictures import strip, three_planes, view_box
from kits_submit.report.planes import WINDOW_HU, place
from kits_submit.report.scene import Scene
from kits_submit.report.viewer.packing import Packed, pack
from kits_submit.report.viewer.viewer import viewer_data, viewer_html
from kits_submit.types import Shape

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_QUALITY, _EFFORT = 82, 1  # of WebP


@dataclass(frozen=True)
class CaseView:
    """A case as HTML. `islands`: its viewer's data, which the browser only keeps as text."""

    number: int
    case: str
    section: str
    islands: str

    @property
    def size(self) -> int:
        """Bytes that it adds to a page."""
        return len(self.section) + len(self.islands)


def view_case(number: int, scene: Scene, numbers: str = "", *, full: bool = False) -> CaseView:
    """Look at a scene.

    Args:
        number: of the case within its page or report, for the names of its elements.
        numbers: its scores as HTML.
        full: keep every voxel for the viewer.
    """
    packed = pack(scene, full=full)
    findings = [*scene.lesions, *scene.errors]
    section = (
        f'<section class="case" id="case-{number}" aria-labelledby="name-{number}" tabindex="-1">\n'
        f'<h2 id="name-{number}">{esc(scene.case)}</h2>\n{numbers}{_pictures(scene)}'
        f"{viewer_html(number, findings)}<p class='shown'>{esc(_what_is_shown(scene, packed))}</p></section>\n"
    )
    return CaseView(number, scene.case, section, viewer_data(number, scene, packed))


def _pictures(scene: Scene) -> str:
    box, at = view_box(scene), place(scene.predicted, scene.labels)
    told = "Three planes through the largest " + _largest(scene)
    drawn = _figure(three_planes(scene, at, box), told + _coordinates(at))
    if scene.errors:
        worst = scene.errors[0]
        words = f"Three planes through the largest error: {worst.what}, {worst.ml:.1f} mL"
        drawn += _figure(three_planes(scene, worst.at, box), words + _coordinates(worst.at))
    slices = strip(scene)
    if slices is not None:
        drawn += _figure(slices, "Slices through everything predicted or labelled, from head to feet")
    return drawn


def _largest(scene: Scene) -> str:
    own: list[Finding] = [finding for finding in scene.lesions if finding.kind == "prediction"]
    return f"predicted {own[0].what}" if own else "extent (nothing is predicted)"


def _coordinates(at: Shape) -> str:
    return f" (slice {at[0]}, row {at[1]}, column {at[2]})"


def _figure(picture: Picture, caption: str) -> str:
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=_QUALITY, method=_EFFORT)
    return (
        f'<figure class="picture">{image(packed.getvalue(), caption)}<figcaption>{esc(caption)}</figcaption></figure>\n'
    )


def _what_is_shown(scene: Scene, packed: Packed) -> str:
    low, high = WINDOW_HU
    size, mm = (" x ".join(f"{n:.3g}" for n in numbers) for numbers in (packed.shape, packed.spacing_mm))
    own, averaged = (" x ".join(map(str, numbers)) for numbers in (scene.predicted.shape, packed.step))
    if packed.step == (1, 1, 1):
        shown = f"The viewer shows every voxel: {size}, {mm} mm (Z, Y, X)."
    else:
        shown = (
            f"The viewer shows the body at {size} voxels of {mm} mm (Z, Y, X), {averaged} averaged "
            f"to one, 8 bits in steps of 5 HU; the scan has {own}. Volumes, lists and scores are of the whole scan."
        )
    kinds = ", ".join(ERROR_WORDS[kind] for kind in ERRORS) if scene.truth is not None else ""
    errors = f" Errors in colours of their own: {kinds}." if kinds else ""
    return f"{shown} Pictures: {low:g} to {high:g} HU; R, L, A, P, H, F are the patient's sides.{errors}"


def numbers_html(pairs: list[tuple[str, str]], notes: str) -> str:
    """A case's own numbers, above its pictures."""
    told = f'<p class="note">{esc(notes)}</p>\n' if notes else ""
    return told + facts(pairs)
