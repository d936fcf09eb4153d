"""`predictions.zip`, as a round's upload asks for it: the masks of its test cases and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

from kits_submit.atomic import remove, replacing
from kits_submit.errors import InputError
from kits_submit.files.cases import prediction_name
from kits_submit.files.rounds import ROUNDS, Round
from kits_submit.mounts import read_bytes

ARCHIVE = "predictions.zip"
_SHOWN = 5


def write_upload(folder: Path, failed: Collection[str], judged: Round = ROUNDS["kits19"]) -> Path:
    """Zip the round's masks of `folder` under its names, not compressed again; equal masks give equal archives.

    Args:
        failed: cases whose mask, if one stands there from another run, does not count.

    Raises:
        InputError: masks are missing.
        OutputError: the archive cannot be written.
    """
    masks = {case: folder / prediction_name(case) for case in judged.cases}
    missing = [judged.mask_name(case) for case, mask in masks.items() if case in failed or not mask.is_file()]
    path = folder / ARCHIVE
    if missing:
        remove(path)
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{len(missing)} of {judged.name}'s {len(masks)} masks are missing: {', '.join(missing[:_SHOWN])}{more}",
            fix=f"give all of {judged.cases[0]} to {judged.cases[-1]}",
            path=path,
        )
    with replacing(path) as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for case, mask in masks.items():
            archive.writestr(zipfile.ZipInfo(judged.mask_name(case)), read_bytes(mask))
    return path
