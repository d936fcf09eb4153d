"""What proves that a case is done: the content of its image and of its mask, under a key of all that made it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kits_submit.errors import KitsError
from kits_submit.files.cases import Case
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.discover import series_content
from kits_submit.files.dicom.objects import beside
from kits_submit.mounts import mount_of

State = tuple[int, int, int] | str  # of a file: inode, size, time of change; of a DICOM series its content


@dataclass(frozen=True)
class Prover:
    """- `output`: the folder of the masks. `made_by`: two runs of one value make the same mask of the same image.
    - `also`: what stands beside the mask of a DICOM series (`files.dicom.objects.ALSO`).
    """

    output: Path
    made_by: str
    also: tuple[str, ...] = ()

    def proof(self, case: Case, state: State | None) -> dict[str, Any]:
        """`key`, `mask_sha256`, and `also` of what stands beside.

        Empty where a file cannot be read, or the image is no more in `state`.
        """
        image = case.image
        if image is None or state is None:
            return {}
        try:
            content = series_content(image) if image.suffix == SERIES else _content(image)
            target = self.output / case.target
            mask = _content(target)
            kinds = self.also if image.suffix == SERIES else ()
            also = {one: _content(beside(target, one)) for one in kinds}
            if state_of(image) != state:
                return {}
        except (OSError, KitsError):
            return {}
        key = hashlib.sha256(f"{content} {self.made_by}".encode()).hexdigest()
        kind = "mask_sha256" if mount_of(self.output) is None else "mask_etag"
        return {"key": key, kind: mask, **({"also": also} if also else {})}


def first_state(image: Path | None) -> State | None:
    """`state_of` when the run begins: of an object in a bucket, as it was listed."""
    mount = None if image is None else mount_of(image)
    return state_of(image) if mount is None or image is None else mount.listed(image)


def state_of(image: Path | None) -> State | None:
    """What changes when the image does; None where it cannot be looked at.

    Raises:
        KitsError: a bucket does not say.
    """
    if image is None:
        return None
    if (mount := mount_of(image)) is not None:
        return mount.content(image)
    if image.suffix == SERIES:
        return series_content(image)
    try:
        found = image.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _content(path: Path) -> str:
    """What names a file's content: a hash, or a bucket's own tag, for which nothing is read again."""
    mount = mount_of(path)
    if mount is not None:
        tag = mount.content(path)
        if tag is None:
            raise FileNotFoundError(path)
        return tag
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
