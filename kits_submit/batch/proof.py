"""What proves that a case is done: the content of its image and of its mask, under a key of all that made it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from kits_submit.files.cases import Case
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.discover import series_content

State = tuple[int, int, int] | str  # of a file: inode, size, time of change; of a DICOM series its content


@dataclass(frozen=True)
class Prover:
    """- `output`: the folder of the masks. `made_by`: two runs of one value make the same mask of the same image."""

    output: Path
    made_by: str

    def proof(self, case: Case, state: State | None) -> dict[str, str]:
        """`key` and `mask_sha256`; empty where a file cannot be read, or the image is no more in `state`."""
        image = case.image
        if image is None or state is None:
            return {}
        try:
            content = series_content(image) if image.suffix == SERIES else _sha256(image)
            mask = _sha256(self.output / case.target)
        except OSError:
            return {}
        if state_of(image) != state:
            return {}
        return {"key": hashlib.sha256(f"{content} {self.made_by}".encode()).hexdigest(), "mask_sha256": mask}


def state_of(image: Path | None) -> State | None:
    """What changes when the image does; None where it cannot be looked at."""
    if image is None:
        return None
    if image.suffix == SERIES:
        return series_content(image)
    try:
        found = image.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
