"""From what a command was given to paths: what is at a URL is mounted while the command runs."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

from kits_submit import mounts
from kits_submit.errors import InputError, OutputError
from kits_submit.files.names import SUFFIXES
from kits_submit.files.parts import WHOLE, Part
from kits_submit.files.remote.lease import hold
from kits_submit.files.remote.mount import BucketMount
from kits_submit.files.remote.urls import Url, parse_url

_RECORDS = ("run*.json", "scores*")


class Reach:
    """A context: what it has mounted goes when it ends, and the scratch folder with it."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._scratch: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def read(self, path: Path) -> Path:
        """A folder or a file to read; each object is read where it is, but for what cannot be streamed.

        Raises:
            InputError: nothing is there, or it may not be looked at.
        """
        url = parse_url(path)
        if isinstance(url, Path):
            return url
        mount = self._mount(url)
        single = mount.store.head(url.key) if url.key else None
        if single is not None:
            return self._single(url, mount, single.key)
        if not url.is_bucket:
            raise InputError(
                "no such file", fix="a web server's folders cannot be listed: give a file", path=mount.root
            )
        mount.take_names(mount.store.below(url.key))
        if not mount.found:
            raise InputError("no such object or folder", fix="check the address", path=mount.root)
        if not any(name.lower().endswith(SUFFIXES) for name in mount.found):
            mount.fetch_all(list(mount.found))  # a DICOM export is read at random
            mounts.drop([mount.root])
        return mount.root

    def fetch(self, path: Path) -> Path:
        """A file, here: what is read at random, or by a library.

        Raises:
            InputError: as `read`.
        """
        url = parse_url(path)
        if isinstance(url, Path):
            return url
        found = self.read(path)
        mount = mounts.mount_of(found)
        assert isinstance(mount, BucketMount), "a URL is mounted"
        if found == mount.root:
            raise InputError("a folder, not a file", fix="give the file", path=found)
        return mount.fetch(found.name)

    def records(self, path: Path) -> Path:
        """A folder that a run has written into, to read: its records are here.

        Raises:
            InputError: as `read`.
        """
        folder = self.read(path)
        mount = mounts.mount_of(folder)
        if isinstance(mount, BucketMount):
            mount.fetch_all(_records_in(mount))
        return folder

    def write(self, path: Path, part: Part = WHOLE) -> Path:
        """A folder to write into, held against a second run.

        Raises:
            OutputError: it cannot be written, or a run is writing into it.
        """
        url = parse_url(path)
        if isinstance(url, Path):
            return url
        if not url.is_bucket:
            raise OutputError("a web server is not written to", fix="give a bucket or a folder", path=str(url))
        mount = self._mount(url)
        mount.root.mkdir(parents=True)
        self._held.enter_context(hold(mount, part))
        mount.take_names(mount.store.below(url.key))
        mount.fetch_all(_records_in(mount))
        mount.gather_lines()
        return mount.root

    def _single(self, url: Url, mount: BucketMount, key: str) -> Path:
        mounts.drop([mount.root])
        folder = Url(url.scheme, url.place, url.key.rpartition("/")[0])
        beside = self._mount(folder)
        found = mount.store.head(key)
        assert found is not None, "it was there"
        beside.take_names([found])
        return beside.root / url.name

    def _mount(self, url: Url) -> BucketMount:
        if self._scratch is None:
            self._scratch = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="kits-remote-")))
        root = Path(tempfile.mkdtemp(dir=self._scratch)) / url.name
        mount = BucketMount(root, url)
        mounts.add(mount)
        self._held.callback(mounts.drop, [root])
        return mount


def _records_in(mount: BucketMount) -> list[str]:
    return [name for name in mount.found if "/" not in name and any(PurePath(name).match(like) for like in _RECORDS)]
