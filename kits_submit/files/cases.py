"""Find cases and masks on disk, in every layout that KiTS and its neighbours use. Reads names only, never voxels.

Layouts, one level deep (docs/layouts.md has them all, each with what is written):

    case_00000/imaging.nii.gz [+ segmentation.nii.gz]     KiTS19, KiTS21 (aggregated_MAJ_seg.nii.gz), KiTS23
    case_00000.nii.gz, anything_0000.nii.gz               flat; nnU-Net's channel suffix, labels in labelsTr
    imaging_00000.nii.gz [+ segmentation_00000.nii.gz]    KiTS19's flat download
    anything.nii.gz                                       a file without a KiTS number keeps its own name
    images/ct/anything.mha                                Grand Challenge; its masks keep the file's whole name
    prediction_00000.nii.gz                               masks: what this program and KiTS19's upload write
    case_00000_seg.nii.gz, case_00000_pred.nii.gz         masks: what others write
    images/kidney-tumor-and-cyst/anything.mha             masks: what KiTS21's later container writes

Each may be `.nii.gz`, `.nii` or `.mha`, in any case of letters. A folder that holds none of these but a `data` or
`dataset` folder (the KiTS repositories), nnU-Net's `imagesTr` or Grand Challenge's `images/ct`, or one other folder in
`images`, is entered. What is hidden is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kits_submit.errors import InputError
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.discover import address, discover, is_dicom, label_files
from kits_submit.files.elsewhere import images_elsewhere
from kits_submit.files.folders import (
    GRAND_CHALLENGE_MASKS,
    all_but,
    enter,
    files_named,
    is_case_folder,
    is_dir,
    is_grand_challenge,
    listing,
    names_in,
    volumes_in,
)
from kits_submit.files.names import (
    IMAGE_NAMES,
    MASK_NAMES,
    belongs,
    case_id,
    is_mask,
    kind,
    stem,
)

_LABEL_FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs"}  # nnU-Net's


@dataclass(frozen=True)
class Case:
    """One patient: an image, and a label map where one stands beside it.

    - `case_id`: `case_00042`, or the file's own name where it has no KiTS number.
    - `image`: None where the case folder holds no image; the pipeline fails that case alone.
    - `keeps_name`: its mask is called as the case is (nnU-Net's evaluation), not as KiTS19's upload asks for.
    """

    case_id: str
    image: Path | None
    label: Path | None = None
    folder: Path | None = None
    keeps_name: bool = False

    @property
    def number(self) -> int | None:
        """KiTS's case number, None for a file that has none."""
        digits = self.case_id.removeprefix("case_")
        return int(digits) if self.case_id.startswith("case_") and digits.isdigit() else None

    @property
    def target(self) -> Path:
        """Where its mask goes, below the output folder."""
        image = self.image or Path("imaging.nii.gz")
        if self.keeps_name:
            return Path(f"{self.case_id}{_suffix(image)}")
        return prediction_path(self.case_id, image)


def prediction_name(case: str, suffix: str = ".nii.gz") -> str:
    """The mask's file name that KiTS19's upload asks for: `prediction_00042.nii.gz`."""
    number = case.removeprefix("case_")
    return f"prediction_{number if number.isdigit() else case}{suffix}"


def prediction_path(case: str, image: Path) -> Path:
    """Where a case's mask goes, below the output folder: in its image's format (`.nii` is compressed).

    `prediction_00042.nii.gz`; for a Grand Challenge image `images/kidney-tumor-and-cyst/` and the image's own name.
    """
    if image.suffix == SERIES:
        return Path(prediction_name(case, ".dcm"))
    if _suffix(image) == ".mha" and is_grand_challenge(image.parent):
        return GRAND_CHALLENGE_MASKS / image.name
    return Path(prediction_name(case, _suffix(image)))


def _suffix(image: Path) -> str:
    """Of a mask of this image."""
    return ".mha" if image.suffix.lower() == ".mha" else ".nii.gz"


def find_cases(source: Path, output: Path | None = None) -> list[Case]:
    """The cases of a folder, of one case folder, or of a single file, sorted by name.

    Args:
        output: a folder that this program writes into, and which holds no case wherever it lies.

    Raises:
        InputError: nothing there, no case in it, or one case twice.
    """
    if source.is_file():
        return (_series(source) if stem(source) is None else []) or [_single(source)]
    folder = enter(source)
    if files_named(folder, IMAGE_NAMES):
        return [_case_folder(folder)]
    entries = all_but(output, listing(folder))
    cases = _case_folders(entries)
    labels = _labels_beside(entries) | _labels_in_sibling(folder)
    volumes = volumes_in(entries)
    names = {name for _, name in volumes}
    for path, name in volumes:
        if kind(name) not in ("segmentation", "prediction") and name not in MASK_NAMES and not belongs(name, names):
            case = name if is_grand_challenge(folder) else case_id(name)
            cases.append(Case(case, image=path, label=labels.get(case)))
    cases = cases or _series(source)
    if not cases:
        raise InputError(
            "no case found",
            fix="expected case_00000/imaging.nii.gz, case_00000.nii.gz or imaging_00000.nii.gz in it"
            + images_elsewhere(folder),
            path=source,
        )
    _refuse_duplicates(((case.case_id, case.image or case.folder or folder) for case in cases), source)
    return sorted(cases, key=lambda case: case.case_id)


def find_masks(source: Path) -> dict[str, Path]:
    """Label maps or predictions by case, from a folder of case folders, a flat folder, or a single file.

    Raises:
        InputError: nothing there, no mask in it, or one case twice.
    """
    found = list_masks(source)
    _refuse_duplicates(found, source)
    return dict(found)


def list_masks(source: Path) -> list[tuple[str, Path]]:
    """As `find_masks`, with every file of a case that is there twice.

    Raises:
        InputError: nothing there, or no mask in it.
    """
    if source.is_file():
        name = stem(source)
        if name is None and is_dicom(source) and (masks := label_files(source)):
            return masks
        if name is None:
            raise _not_nifti(source)
        return [(_own_id(source, name), source)]
    folder = enter(source, GRAND_CHALLENGE_MASKS)
    entries = listing(folder)
    found = [
        (case_id(entry.name), mask) for entry in entries if is_dir(entry) for mask in files_named(entry, MASK_NAMES)
    ]
    flat = [(case_id(name), path) for path, name in volumes_in(entries) if is_mask(name)]
    labelled = _labels_beside(entries)  # images of the bare name may stand beside these
    found += [(case, path) for case, path in flat if case not in labelled or kind(stem(path) or "")]
    if not found:
        found = [(case_id(folder.absolute().name), mask) for mask in files_named(folder, MASK_NAMES)]
    if not found and is_dicom(source):
        found = label_files(source)
    if not found:
        raise InputError(
            "no mask found",
            fix="expected prediction_00000.nii.gz, case_00000.nii.gz or case_00000/segmentation.nii.gz in it",
            path=source,
        )
    return sorted(found)


def _single(path: Path) -> Case:
    name = stem(path)
    if name is None:
        raise _not_nifti(path)
    if name in IMAGE_NAMES:
        return _case_folder(path.absolute().parent, image=path)
    case = _own_id(path, name)
    return Case(case, image=path, label=_labels_beside(listing(path.absolute().parent)).get(case))


def _series(source: Path) -> list[Case]:
    """The CT series of a DICOM export, under addresses that name no patient; none where it is no such export.

    Raises:
        InputError: the extra `dicom` is not installed, or no series of the export can be a volume.
    """
    if not is_dicom(source):
        return []
    found = discover(source)
    labels = dict(label_files(source))
    cases = [Case(one.key, address(source, one), labels.get(one.key)) for one in found if not one.left_out]
    if not cases:
        told = ", ".join(f"{one.key} is {one.left_out}" for one in found[:3]) or "no file's header can be read"
        raise InputError(f"no CT series that can be a volume: {told}", fix="export the CT itself", path=source)
    return cases


def _own_id(path: Path, name: str) -> str:
    return case_id(path.absolute().parent.name if name in IMAGE_NAMES + MASK_NAMES else name)


def _case_folders(entries: Iterable[Path]) -> list[Case]:
    """Each folder is listed once: asking for every name that a file might have takes ten times as long."""
    cases = []
    for entry in entries:
        if is_dir(entry):
            inside = names_in(entry)
            if is_case_folder(entry, inside):
                cases.append(_case_folder(entry, inside=inside))
    return cases


def _case_folder(folder: Path, image: Path | None = None, inside: frozenset[str] | None = None) -> Case:
    images, masks = files_named(folder, IMAGE_NAMES, inside), files_named(folder, MASK_NAMES, inside)
    if image is None and images:
        image = images[0]
    return Case(case_id(folder.absolute().name), image=image, label=masks[0] if masks else None, folder=folder)


def _labels_beside(entries: list[Path]) -> dict[str, Path]:
    """`segmentation_00000.nii.gz` of a flat folder, by case."""
    return {case_id(name): path for path, name in volumes_in(entries) if kind(name) == "segmentation"}


def _labels_in_sibling(folder: Path) -> dict[str, Path]:
    """nnU-Net's: `labelsTr/x.nii.gz` of `imagesTr/x_0000.nii.gz`, by case."""
    labels = folder.absolute().parent / _LABEL_FOLDERS.get(folder.absolute().name, "")
    if folder.absolute().name not in _LABEL_FOLDERS or not is_dir(labels):
        return {}
    return {case_id(name): path for path, name in volumes_in(listing(labels))}


def _refuse_duplicates(found: Iterable[tuple[str, Path]], source: Path) -> None:
    seen: dict[str, Path] = {}
    for case, path in found:
        if case in seen:
            raise InputError(
                f"{case} is there twice: {_below(seen[case], source)} and {_below(path, source)}",
                fix="keep one of the two",
                path=source,
            )
        seen[case] = path


def _below(path: Path, source: Path) -> Path:
    return path.relative_to(source) if path.is_relative_to(source) else path


def _not_nifti(path: Path) -> InputError:
    return InputError("not a NIfTI file name", fix="give a .nii.gz, .nii or .mha file, or a folder of cases", path=path)
