"""One bucket or web server: obstore's calls, with what they raise told in one line. Credentials are the environment's.

obstore retries what may be retried (5xx, dropped connections, time-outs); what it then raises is final.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kits_submit.errors import InputError, KitsError, OutputError, VolumeError
from kits_submit.files.remote.urls import Url

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SECONDS_VARIABLE = "KITS_REMOTE_SECONDS"
_SECONDS = 60.0  # of one request: a block of `reader.BLOCK_BYTES`
_RETRIES = 6
_NOTHING, _NO_BUCKET = "no such object or bucket", "<Code>NoSuchBucket</Code>"
_MESSAGE = re.compile(r"<Code>(\w+)</Code>")


@dataclass(frozen=True)
class Found:
    """- `key`: below the store. `tag`: names the content: the ETag, or where a server gives none, size and time."""

    key: str
    size: int
    tag: str
    modified: float


class Store:
    """Objects of one bucket or server, by key.

    Raises:
        InputError: the extra is not installed.
    """

    def __init__(self, url: Url) -> None:
        try:
            from obstore.store import from_url
        except ImportError:
            what, fix = "buckets and URLs need obstore", "pip install 'kits-submit[remote]'"
            raise InputError(what, fix=fix) from None
        seconds = float(os.environ.get(SECONDS_VARIABLE, _SECONDS))
        self._url = url
        options: dict[str, Any] = {"timeout": timedelta(seconds=seconds), "connect_timeout": timedelta(seconds=5)}
        if url.scheme == "http" or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
            options["allow_http"] = True
        retry = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=max(60.0, 3 * seconds))}
        self._store: ObjectStore = from_url(url.base, client_options=options, retry_config=retry)  # type: ignore[call-overload]

    def head(self, key: str) -> Found | None:
        """None where there is no such object."""
        import obstore
        from obstore.exceptions import NotFoundError

        with self._told(key):
            try:
                return _found(obstore.head(self._store, key))
            except (NotFoundError, FileNotFoundError):
                return None

    def below(self, prefix: str) -> Iterator[Found]:
        """All objects of a folder, at any depth."""
        import obstore

        with self._told(prefix):
            for batch in obstore.list(self._store, prefix or None, chunk_size=1000):
                yield from map(_found, batch)

    def read(self, key: str, start: int, stop: int, tag: str | None = None) -> memoryview:
        """Bytes `start` to `stop`.

        Raises:
            VolumeError: the object's content is no longer what `tag` names.
        """
        import obstore

        options: dict[str, Any] = {"range": (start, stop)}
        if tag is not None and not tag.startswith("size "):
            options["if_match"] = tag
        with self._told(key):
            return memoryview(obstore.get(self._store, key, options=options).bytes())  # type: ignore[arg-type]

    def put(self, key: str, content: bytes | Path, *, new: bool = False) -> bool:
        """Write an object, whole or not at all.

        Args:
            new: only where there is none.

        Returns:
            False where there is one already.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told(key, writing=True):
            try:
                obstore.put(self._store, key, content, mode="create" if new else "overwrite")
            except AlreadyExistsError:
                return False
        return True

    def remove(self, keys: list[str]) -> None:
        """Those that are there."""
        import obstore

        if keys:
            with self._told(keys[0], writing=True):
                obstore.delete(self._store, keys)

    @contextmanager
    def _told(self, key: str, *, writing: bool = False) -> Iterator[None]:
        from obstore import exceptions as raised

        try:
            yield
        except KitsError:
            raise
        except raised.PreconditionError:
            what, fix = "the object changed while it was read", "run again when nobody writes it"
            raise VolumeError(what, fix=fix, path=self._at(key)) from None
        except (raised.NotFoundError, FileNotFoundError):
            raise self._kind(writing)(_NOTHING, fix="check the address", path=self._at(key)) from None
        except (raised.PermissionDeniedError, raised.UnauthenticatedError, PermissionError) as error:
            what = f"the credentials do not allow it{_code(error)}"
            fix = "check the environment's credentials (docs/scale.md)"
            raise self._kind(writing)(what, fix=fix, path=self._at(key)) from None
        except (raised.BaseError, OSError) as error:
            if _NO_BUCKET in str(error):
                raise self._kind(writing)(_NOTHING, fix="check the address", path=self._at(key)) from None
            what = f"the store does not answer as it should{_code(error) or f' ({type(error).__name__})'}"
            raise self._kind(writing)(what, fix="check address, region and network", path=self._at(key)) from None

    def _at(self, key: str) -> str:
        return f"{self._url.base}/{key}"

    @staticmethod
    def _kind(writing: bool) -> type[KitsError]:
        return OutputError if writing else InputError


def _found(meta: Any) -> Found:
    modified = meta["last_modified"].timestamp()
    return Found(meta["path"], meta["size"], meta["e_tag"] or f"size {meta['size']} at {modified}", modified)


def _code(error: BaseException) -> str:
    """S3's own word for it; never the rest of an answer, which may name keys."""
    found = _MESSAGE.search(str(error))
    return f" ({found[1]})" if found else ""
