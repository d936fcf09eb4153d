"""Find cases and masks on disk, in every layout that KiTS and its neighbours use. Reads names only, never voxels.

Layouts, one level deep:

    case_00000/imaging.nii.gz [+ segmentation.nii.gz]     KiTS19, KiTS21 (aggregated_MAJ_seg.nii.gz), KiTS23
    case_00000.nii.gz, case_00000_0000.nii.gz             flat; nnU-Net's channel suffix
    imaging_00000.nii.gz [+ segmentation_00000.nii.gz]    KiTS19's flat download
    anything.nii.gz                                       a file without a KiTS number keeps its own name
    images/ct/anything.mha                                Grand Challenge; its masks keep the file's whole name
    prediction_00000.nii.gz                               masks: what this program and KiTS19's upload write
    case_00000_seg.nii.gz, case_00000_pred.nii.gz         masks: what others write
    images/kidney-tumor-and-cyst/anything.mha             masks: what KiTS21's later container writes

Each may be `.nii.gz`, `.nii` or `.mha`. A folder that holds none of these but a `data` or `dataset` folder (the KiTS
repositories) or a folder of Grand Challenge's is entered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kits_submit.errors import InputError
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.discover import address, discover, is_dicom, label_files

IMAGE_NAMES = ("imaging",)
MASK_NAMES = ("segmentation", "aggregated_MAJ_seg", "prediction")
SUFFIXES = (".nii.gz", ".nii", ".mha")
GRAND_CHALLENGE_IMAGES = Path("images", "ct")  # below /input, and below /output where the masks go
GRAND_CHALLENGE_MASKS = Path("images", "kidney-tumor-and-cyst")

_NUMBERED = re.compile(
    r"(?:(?P<kind>case|imaging|segmentation|prediction)_)?(?P<number>\d{1,9})"
    r"(?:(?P<channel>_0000)|_(?P<mask>seg|segmentation|pred|prediction))?"
)
_KIND = re.compile(r"(?P<kind>imaging|segmentation|prediction)_.+")
_INNER_FOLDERS = (Path("data"), Path("dataset"), GRAND_CHALLENGE_IMAGES)
_INNER_MASK_FOLDERS = (GRAND_CHALLENGE_MASKS, *_INNER_FOLDERS)


@dataclass(frozen=True)
class Case:
    """One patient: an image, and a label map where one stands beside it.

    - `case_id`: `case_00042`, or the file's own name where it has no KiTS number.
    - `image`: None where the case folder holds no image; the pipeline fails that case alone.
    """

    case_id: str
    image: Path | None
    label: Path | None = None
    folder: Path | None = None

    @property
    def number(self) -> int | None:
        """KiTS's case number, None for a file that has none."""
        digits = self.case_id.removeprefix("case_")
        return int(digits) if self.case_id.startswith("case_") and digits.isdigit() else None


def stem(path: Path) -> str | None:
    """A NIfTI or MetaImage file's name without its suffix; None for any other or a hidden file."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix) and not path.name.startswith(".") and path.name != suffix:
            return path.name.removesuffix(suffix)
    return None


def case_id(name: str) -> str:
    """`case_00042` for any of KiTS's names of case 42, else the name without its kind.

    >>> [case_id(n) for n in ("imaging_00042", "case_42_0000", "prediction_00042", "liver_7")]
    ['case_00042', 'case_00042', 'case_00042', 'liver_7']
    """
    match = _NUMBERED.fullmatch(name)
    if match:
        return f"case_{int(match['number']):05d}"
    return name.removeprefix(f"{_kind(name)}_")


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
    if image.suffix != ".mha":
        return Path(prediction_name(case))
    if _is_grand_challenge(image.parent):
        return GRAND_CHALLENGE_MASKS / image.name
    return Path(prediction_name(case, image.suffix))


def find_cases(source: Path) -> list[Case]:
    """The cases of a folder, of one case folder, or of a single file, sorted by name.

    Raises:
        InputError: nothing there, no case in it, or one case twice.
    """
    if source.is_file():
        return (_series(source) if stem(source) is None else []) or [_single(source)]
    folder = _enter(source)
    if _named(folder, IMAGE_NAMES):
        return [_case_folder(folder)]
    entries = _listing(folder)
    cases = [_case_folder(entry) for entry in entries if _is_dir(entry) and _is_case_folder(entry)]
    labels = _labels_beside(entries)
    for path, name in _volumes(entries):
        if _kind(name) not in ("segmentation", "prediction") and name not in MASK_NAMES:
            case = name if _is_grand_challenge(folder) else case_id(name)
            cases.append(Case(case, image=path, label=labels.get(case)))
    cases = cases or _series(source)
    if not cases:
        raise InputError(
            "no case found",
            fix="expected case_00000/imaging.nii.gz, case_00000.nii.gz or imaging_00000.nii.gz in it",
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
    folder = _enter(source, _INNER_MASK_FOLDERS)
    entries = _listing(folder)
    found = [(case_id(entry.name), mask) for entry in entries if _is_dir(entry) for mask in _named(entry, MASK_NAMES)]
    flat = [(case_id(name), path) for path, name in _volumes(entries) if _is_mask(name)]
    labelled = _labels_beside(entries)  # images of the bare name may stand beside these
    found += [(case, path) for case, path in flat if case not in labelled or _kind(stem(path) or "")]
    if not found:
        found = [(case_id(folder.absolute().name), mask) for mask in _named(folder, MASK_NAMES)]
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
    return Case(case, image=path, label=_labels_beside(_listing(path.absolute().parent)).get(case))


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


def _case_folder(folder: Path, image: Path | None = None) -> Case:
    images, masks = _named(folder, IMAGE_NAMES), _named(folder, MASK_NAMES)
    if image is None and images:
        image = images[0]
    return Case(case_id(folder.absolute().name), image=image, label=masks[0] if masks else None, folder=folder)


def _labels_beside(entries: list[Path]) -> dict[str, Path]:
    """`segmentation_00000.nii.gz` of a flat folder, by case."""
    return {case_id(name): path for path, name in _volumes(entries) if _kind(name) == "segmentation"}


def _is_grand_challenge(folder: Path) -> bool:
    return folder.absolute().parts[-2:] == GRAND_CHALLENGE_IMAGES.parts


def _is_dir(path: Path) -> bool:
    """False too where the system will not say."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_case_folder(folder: Path) -> bool:
    return bool(_named(folder, IMAGE_NAMES + MASK_NAMES)) or _kind_of_case(folder.name)


def _kind_of_case(name: str) -> bool:
    match = _NUMBERED.fullmatch(name)
    return match is not None and match["kind"] == "case"


def _is_mask(name: str) -> bool:
    return name not in IMAGE_NAMES + MASK_NAMES and _kind(name) != "imaging" and not name.endswith("_0000")


def _kind(name: str) -> str:
    numbered = _NUMBERED.fullmatch(name)
    if numbered and numbered["mask"]:
        return "segmentation" if numbered["mask"].startswith("seg") else "prediction"
    match = _KIND.fullmatch(name)
    return match["kind"] if match else ""


def _named(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of these names, at most one a name: `.nii.gz` before `.nii`."""
    found = []
    for name in names:
        present = [path for suffix in SUFFIXES if _is_file(path := folder / f"{name}{suffix}")]
        found += present[:1]
    return found[:1] if names is MASK_NAMES else found


def _volumes(entries: list[Path]) -> list[tuple[Path, str]]:
    """Files with a NIfTI name, links to nowhere and unreadable ones included: each is a case that fails aloud."""
    named = [(path, stem(path)) for path in entries]
    return [(path, name) for path, name in named if name is not None and name not in IMAGE_NAMES and not _is_dir(path)]


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder))
    except OSError as error:
        raise InputError(f"cannot be listed ({error.strerror})", fix="make it readable", path=folder) from None


def _enter(source: Path, inside: tuple[Path, ...] = _INNER_FOLDERS) -> Path:
    if not source.is_dir():
        raise InputError("no such file or folder", fix="check the path, and in a container the mount", path=source)
    entries = _listing(source)
    if any(stem(entry) for entry in entries) or any(_is_dir(entry) and _is_case_folder(entry) for entry in entries):
        return source
    inner = [source / name for name in inside if _is_dir(source / name)]
    return inner[0] if inner else source


def _refuse_duplicates(found: Iterable[tuple[str, Path]], source: Path) -> None:
    seen: dict[str, Path] = {}
    for case, path in found:
        if case in seen:
            raise InputError(
                f"{case} is there twice: {seen[case].name} and {path.name}", fix="keep one of the two", path=source
            )
        seen[case] = path


def _not_nifti(path: Path) -> InputError:
    return InputError("not a NIfTI file name", fix="give a .nii.gz, .nii or .mha file, or a folder of cases", path=path)
