"""Every failure a user can cause, with one stable exit code per kind.

    code  kind                what it means
    ----  ------------------  ---------------------------------------------------------
       0                      every case done (with `--on-failure background`: or a mask written in its place)
       1                      a bug in this program (please report it; `--debug` shows where)
       2  UsageError          wrong command line
       3  InputError          a folder or file is missing, holds no case, or names one twice
       4  VolumeError         a volume cannot be read: truncated, not NIfTI, NaN, no affine
       5  GeometryError       two volumes that belong together differ in shape or affine
       6  LabelError          a label map holds a value outside the protocol's set
       7  ModelError          a model cannot be read, carries no Recipe, or a newer one
       8  DeviceError         the device asked for is not there, or it failed
       9  OutputError         the output cannot be written
      10  MixedError          cases failed for reasons of several kinds
      11  BudgetError         more memory or time is needed than there is
      12  ThresholdError      scores are worse than `kits-eval --fail-under` allows
     130                      interrupted (Ctrl-C)
     143                      terminated (SIGTERM)

A batch exits with the kind that its failed cases share, and with 10 where they differ;
the cases that did not fail are done all the same. SIGKILL, and a container's memory limit, end it with 137
and no line of ours; run again, and the cases done are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class KitsError(Exception):
    """A failure told in one line: which file, what is wrong, what to do about it.

    Args:
        what: what is wrong, with the value got and the values allowed.
        fix: what the user can do.
        path: the file or folder concerned.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, fix: str, path: Path | str | None = None) -> None:
        self.what = _one_line(what)
        self.fix = _one_line(fix)
        self.path = path if path is None or isinstance(path, Path) else _as_path(path)
        super().__init__(what, fix, path)

    def __str__(self) -> str:
        where = "" if self.path is None else f"{shown(self.path)}: "
        return f"{where}{self.what}; {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.fix, self.path))


class UsageError(KitsError):
    exit_code = 2


class InputError(KitsError):
    exit_code = 3


class VolumeError(KitsError):
    exit_code = 4


class GeometryError(KitsError):
    exit_code = 5


class LabelError(KitsError):
    exit_code = 6


class ModelError(KitsError):
    exit_code = 7


class DeviceError(KitsError):
    exit_code = 8


class OutputError(KitsError):
    exit_code = 9


class MixedError(KitsError):
    exit_code = 10


class BudgetError(KitsError):
    exit_code = 11


class ThresholdError(KitsError):
    exit_code = 12


def batch_exit_code(codes: Iterable[int]) -> int:
    """The exit code of a batch from its failed cases' codes: the shared one, 10 where they differ, 0 for none."""
    kinds = set(codes)
    if not kinds:
        return 0
    return kinds.pop() if len(kinds) == 1 else MixedError.exit_code


def first_line(error: Exception) -> str:
    """The gist of a library's error: its first line without the prefixes that end in " : ", or its kind."""
    text = str(error).strip()
    return text.splitlines()[0].rsplit(" : ", 1)[-1][:160] if text else type(error).__name__


def printable(text: str) -> str:
    """The text in one line that a terminal does not interpret: control characters and undecodable bytes as escapes.

    >>> printable("a\\x1b[31m\\n")
    'a\\\\x1b[31m\\\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_shown_as: dict[str, str] = {}


def show_as(folder: Path, name: str) -> None:
    """Let messages call a folder, and what lies below it, as the user did."""
    _shown_as[str(folder)] = name


def shown(path: Path) -> str:
    """A path as messages have it, in one line that a terminal does not interpret."""
    text = str(path)
    for folder, name in _shown_as.items():
        if text == folder or text.startswith(f"{folder}/"):
            return printable(name + text[len(folder) :])
    return printable(text)


def _as_path(text: str) -> Path:
    """A path; of a URL one that is shown as it was given."""
    path = Path(text)
    if "://" in text:
        show_as(path, text)
    return path


def _rebuild(kind: type[KitsError], what: str, fix: str, path: Path | None) -> KitsError:
    return kind(what, fix=fix, path=path)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
