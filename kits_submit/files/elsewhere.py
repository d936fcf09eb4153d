"""Where images lie that are no cases, for those who gave the wrong folder."""

from __future__ import annotations

import os
from pathlib import Path

from kits_submit.files.names import stem

_DEEPEST, _MOST_LOOKED_AT = 6, 20_000


def images_elsewhere(folder: Path) -> str:
    """`; images are in x/y (3)`, where some lie deeper than cases are looked for; else nothing."""
    found: dict[Path, int] = {}
    looked = 0
    for inside, folders, files in os.walk(folder):
        folders[:] = [] if len(Path(inside).relative_to(folder).parts) > _DEEPEST else sorted(folders)
        images = sum(stem(Path(name)) is not None for name in files)
        if images:
            found[Path(inside)] = images
        looked += len(files)
        if looked > _MOST_LOOKED_AT:
            break
    found.pop(folder, None)
    places = [f"{path.relative_to(folder)} ({images})" for path, images in list(found.items())[:3]]
    more = f" and {len(found) - 3} more folders" if len(found) > 3 else ""
    return f"; images are in {', '.join(places)}{more}: give the folder above them" if places else ""
