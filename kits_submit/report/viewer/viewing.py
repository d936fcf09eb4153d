"""One case in the viewer, every voxel of it: what `kits-submit view` serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kits_submit.errors import GeometryError
from kits_submit.files.volume import read_labels, read_volume
from kits_submit.labels import LabelSet
from kits_submit.report.colours import colours, lighter
from kits_submit.report.page.html import data_island, document, esc
from kits_submit.report.scene import Scene, read_scene
from kits_submit.report.viewer.packing import pack
from kits_submit.report.viewer.server import Content
from kits_submit.report.viewer.viewer import library, scripts, viewer_facts, viewer_html

_NIFTI = "application/octet-stream"


def viewer_contents(case: str, image: Path, masks: Sequence[Path], labels: LabelSet) -> dict[str, Content]:
    """The page and its volumes, by the names that the page asks for.

    Args:
        masks: the first is shown as the prediction, the second as the label that it is held against.

    Raises:
        VolumeError, LabelError, GeometryError: as `read_scene`.
    """
    scene = _scene(case, image, masks, labels)
    packed = pack(scene, full=True, compress=False)
    volumes = {"scan": packed.hu, "prediction": packed.predicted, "label": packed.truth}
    there = {name: body for name, body in volumes.items() if body is not None}
    facts = viewer_facts(scene, packed, {name: {"url": f"{name}.nii"} for name in there})
    for number, path in enumerate(masks[2:], 3):
        there[f"mask{number}"] = pack(_like(scene, path), full=True, compress=False).predicted
        one = {"name": path.name, "source": {"url": f"mask{number}.nii"}, "names": facts["overlays"][0]["names"]}
        one["colours"] = [lighter(lighter(colour)) for colour in colours(labels).values()]
        facts["overlays"].append(one)
    findings = [*scene.lesions, *scene.errors]
    told = "; ".join(
        (image.name, *(f"{what}: {m.name}" for what, m in zip(("prediction", "label"), masks, strict=False)))
    )
    body = (
        f'<main><section class="case" id="case-0"><h1>{esc(case)}</h1><p>{esc(told)}</p>'
        f"{viewer_html(0, findings)}</section></main>\n{data_island('case-data-0', facts)}{library()}"
    )
    page = document(case, body, [scripts()], connect="'self' data: blob:")
    return {"": Content("text/html; charset=utf-8", page.encode())} | {
        f"{name}.nii": Content(_NIFTI, content) for name, content in there.items()
    }


def _scene(case: str, image: Path, masks: Sequence[Path], labels: LabelSet) -> Scene:
    if masks:
        return read_scene(case, image, masks[0], masks[1] if len(masks) > 1 else None, labels=labels)
    scan = read_volume(image)
    return Scene(case, scan.voxels, np.zeros(scan.voxels.shape, np.uint8), None, scan.grid.box_mm, labels)


def _like(scene: Scene, path: Path) -> Scene:
    """The scene with another mask alone."""
    voxels = read_labels(path).voxels
    if voxels.shape != scene.predicted.shape:
        raise GeometryError(
            f"shape {voxels.shape}, scan {scene.predicted.shape}", fix="give masks of this image", path=path
        )
    return Scene(scene.case, None, voxels, None, scene.spacing_mm, scene.labels)
