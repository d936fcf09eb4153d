"""`predictions.zip`, as KiTS19's upload asks for it: the masks of its 90 test cases and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

from kits_submit.atomic import replacing
from kits_submit.errors import InputError
from kits_submit.files.cases import prediction_name

ARCHIVE = "predictions.zip"
TEST_CASES = tuple(f"case_{number:05d}" for number in range(210, 300))  # KiTS19's test images
_SHOWN = 5


def write_upload(folder: Path, failed: Collection[str]) -> Path:
    """Zip the 90 masks of `folder`, not compressed again; equal masks give equal archives.

    Args:
        failed: cases whose mask, if one stands there from another run, does not count.

    Raises:
        InputError: masks are missing.
        OutputError: the archive cannot be written.
    """
    names = {case: prediction_name(case) for case in TEST_CASES}
    missing = [name for case, name in names.items() if case in failed or not (folder / name).is_file()]
    path = folder / ARCHIVE
    if missing:
        path.unlink(missing_ok=True)
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{len(missing)} of KiTS19's {len(names)} masks are missing: {', '.join(missing[:_SHOWN])}{more}",
            fix="give all of case_00210 to case_00299",
            path=path,
        )
    with replacing(path) as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for name in names.values():
            archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
    return path
