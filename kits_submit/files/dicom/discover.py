"""The series of a folder, a tree, a DICOMDIR, a zip or a file, told apart by their UIDs, whatever the files are called.

A series has an address, `INPUT/ct_1f3a9c0b.series`: the source, and a hash of the series' UID. It stands wherever an
image's path does; it says nothing of the patient, and whoever holds it finds the series again.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from kits_submit.errors import GeometryError, InputError, KitsError, VolumeError
from kits_submit.files.dicom.geometry import Layout, lay_out
from kits_submit.files.dicom.headers import Facts, Place, Slice, read_header
from kits_submit.files.dicom.pixels import check_syntax, read_hu

SUFFIX = ".series"
UNREADABLE = "unreadable"  # stands for a key
_CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_NO_VOLUME = {  # values of Image Type (C.8.2.1.1.1), and what makers add to it
    "LOCALIZER": "a localiser", "SCOUT": "a localiser", "MIP": "a projection", "MINIP": "a projection",
    "PROJECTION IMAGE": "a projection", "MPR": "a reformat", "REFORMATTED": "a reformat", "VRT": "a rendering",
    "VOLREN": "a rendering", "SCREEN SAVE": "a screenshot", "SCREEN SHOT": "a screenshot",
}  # fmt: skip
_PHASES = (
    ("native", r"nativ|non.?contrast|without|unenhanced|\bw/?o\b|plain"),
    ("excretory", r"excret|urogr|delay|sp[äa]t|\b[5-9] ?min"),
    ("nephrographic", r"nephro|\b(90|100|110|120) ?s"),
    ("portal venous", r"portal|venous|ven[oö]s|\bpv\b|\b(60|65|70|75|80) ?s"),
    ("arterial", r"arter|cortico|(?<!non-)angio|\bcta\b|\b(25|30|35|40) ?s"),
)


@dataclass(frozen=True)
class Series:
    """- `key`: `ct_` and eight hexadecimal digits of its UID's sha256.
    - `layout`: its stack, None where it makes none.
    - `left_out`: why it is no CT volume; empty where it is one, or would be one but for `trouble`.
    """

    key: str
    facts: Facts
    slices: tuple[Slice, ...]
    layout: Layout | None = None
    left_out: str = ""
    trouble: KitsError | None = None

    @property
    def phase(self) -> str:
        """A guess of the contrast's phase by what the series is called; `?` where nothing tells."""
        named = (self.facts.description.lower(), self.facts.protocol.lower())
        return next((phase for name in named for phase, pattern in _PHASES if re.search(pattern, name)), "?")

    @property
    def why_not(self) -> str:
        """Why it cannot be run, in one line; empty where it can."""
        return self.left_out or ("" if self.trouble is None else f"{self.trouble.what}; {self.trouble.fix}")


def series_key(series_uid: str) -> str:
    """A series' name that tells nothing of its patient."""
    return f"ct_{hashlib.sha256(series_uid.encode()).hexdigest()[:8]}"


def address(source: Path, series: Series) -> Path:
    """Where the series is told to lie."""
    return source / f"{series.key}{SUFFIX}"


def series_at(path: Path) -> Series:
    """The series of an address.

    Raises:
        InputError: it is not there (any more).
    """
    for series in discover(path.parent):
        if series.key == path.name.removesuffix(SUFFIX):
            return series
    raise InputError("no such series", fix="list them by kits-submit series", path=path)


def series_content(path: Path) -> str:
    """A hash of the files of an address by name, size and time of change; empty where one cannot be asked."""
    digest = hashlib.sha256()
    try:
        for place in sorted({(str(one.place.file), one.place.member) for one in series_at(path).slices}):
            state = Path(place[0]).stat()
            digest.update(f"{place} {state.st_size} {state.st_mtime_ns}".encode())
    except (OSError, KitsError):
        return ""
    return digest.hexdigest()


def discover(source: Path) -> tuple[Series, ...]:
    """Every series in it, sorted by key; empty where there is no DICOM file.

    Raises:
        InputError: the extra `dicom` is not installed, or the zip is damaged.
    """
    source = source.parent if source.name == "DICOMDIR" else source
    try:
        return _discovered(source, _state(source))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", fix="check the path", path=source) from None


def is_dicom(source: Path) -> bool:
    """Whether there is a DICOM file in it, asked without pydicom."""
    return any(_has_preamble(place) for place in _places(source))


def label_files(source: Path) -> list[tuple[str, Path]]:
    """Segmentations and RT Structure Sets, as files, by the key of the series that they refer to.

    A file called `prediction_CASE.dcm` is CASE's; one in a zip is not listed, nor one that refers to no series.
    """
    found = []
    for series in discover(source):
        if series.facts.modality not in ("SEG", "RTSTRUCT"):
            continue
        for place in dict.fromkeys(one.place for one in series.slices):
            if place.member or place.file.name.endswith((".labelmap.dcm", ".sr.dcm", ".rtstruct.dcm")):
                continue
            ours = re.fullmatch(r"prediction_(.+)\.dcm", place.file.name)
            header = _header(place)
            refers = "" if header is None else header[0].referenced_series
            if ours or refers:
                found.append((ours[1] if ours else series_key(refers), place.file))
    return sorted(found)


@lru_cache(maxsize=4)
def _discovered(source: Path, _at: str) -> tuple[Series, ...]:
    facts: dict[str, Facts] = {}
    slices: dict[str, list[Slice]] = {}
    damaged = 0
    for place in _places(source):
        try:
            found = read_header(place, facts)
        except VolumeError:
            damaged += 1
            continue
        if found is not None:
            uid = found[0].series_uid
            facts.setdefault(uid, found[0])
            slices.setdefault(uid, []).extend(found[1])
    series = [_judged(Series(series_key(uid), facts[uid], tuple(slices[uid]))) for uid in facts]
    return (*_without_copies(sorted(series, key=lambda one: one.key)), *_unreadable(damaged))


def _unreadable(damaged: int) -> list[Series]:
    """What stands for files that begin as DICOM and of which no more is known, so that they are named."""
    if not damaged:
        return []
    nothing = Facts("", "", "", "", "", "", "", (), "", "", 1, "")
    told = f"{damaged} DICOM file{'s' if damaged > 1 else ''} whose header cannot be read"
    return [Series(UNREADABLE, nothing, (), left_out=told)]


def _header(place: Place) -> tuple[Facts, list[Slice]] | None:
    try:
        return read_header(place)
    except VolumeError:
        return None


def _judged(series: Series) -> Series:
    left_out = _why_left_out(series)
    if left_out:
        return replace(series, left_out=left_out)
    try:
        layout = lay_out(series.slices)
        for one in layout.slices:
            check_syntax(one, layout.slices)
    except (GeometryError, VolumeError) as error:
        return replace(series, trouble=error)
    return replace(series, layout=layout)


def _why_left_out(series: Series) -> str:
    facts = series.facts
    if facts.sop_class == _PDF:
        return "an encapsulated PDF"
    if facts.modality != "CT":
        return f"of modality {facts.modality or 'not given'}, not CT"
    if facts.sop_class not in _CT:
        return "no CT image (a report, a capture or the like)"
    told = next((what for value, what in _NO_VOLUME.items() if value in facts.image_type), "")
    if told or facts.samples != 1:
        return told or "in colour"
    count = len({(one.uid, one.frame) for one in series.slices})
    return "one slice, no volume" if count == 1 else ""


def _without_copies(found: list[Series]) -> list[Series]:
    """A series sent again under another UID is left out: same study, same stack, same voxels in the middle slice."""
    first: dict[object, Series] = {}
    kept = []
    for series in found:
        layout = series.layout
        if layout is None:
            kept.append(series)
            continue
        key = (series.facts.study_uid, layout.shape, layout.affine.round(3).tobytes())
        twin = first.setdefault(key, series)
        same = twin is not series and _middle(twin) == _middle(series)
        kept.append(replace(series, layout=None, left_out=f"a copy of {twin.key}") if same else series)
    return kept


def _middle(series: Series) -> bytes:
    assert series.layout is not None, "only stacks are compared"
    slices = series.layout.slices
    try:
        return read_hu(slices[len(slices) // 2], slices).tobytes()
    except VolumeError:
        return series.key.encode()


def _state(source: Path) -> str:
    """A hash of its files' names, sizes and times of change: what was found holds while it stays."""
    digest = hashlib.sha256()
    for file in _files(source):
        state = file.stat()
        digest.update(f"{file} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(source: Path) -> Iterator[Path]:
    if source.stat() and not source.is_dir():
        yield source
        return
    for folder, inner, names in os.walk(source):
        inner.sort()
        yield from (path for name in sorted(names) if (path := Path(folder, name)).is_file())


def _places(source: Path) -> Iterator[Place]:
    if zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                names = sorted(entry.filename for entry in archive.infolist() if not entry.is_dir())
        except zipfile.BadZipFile:
            raise InputError("the zip is damaged", fix="get it again", path=source) from None
        yield from (Place(source, name) for name in names)
    else:
        yield from (Place(path) for path in _files(source))


def _has_preamble(place: Place) -> bool:
    try:
        with place.open() as stream:
            return stream.read(132)[128:] == b"DICM"
    except (OSError, zipfile.BadZipFile):
        return False
