"""What a path on the command line says of where it is. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kits_submit.errors import InputError

_URL = re.compile(r"(?P<scheme>s3|gs|az|https?|file):(?:/+(?P<rest>.*))?", re.DOTALL)
_FIX = "give s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, az://CONTAINER/FOLDER or https://HOST/FILE"


@dataclass(frozen=True)
class Url:
    """- `scheme`: `s3`, `gs`, `az`, `http` or `https`. `place`: bucket, container or host.
    - `key`: below it, without a slash at either end.
    """

    scheme: str
    place: str
    key: str

    @property
    def base(self) -> str:
        """Of the store."""
        return f"{self.scheme}://{self.place}"

    @property
    def is_bucket(self) -> bool:
        """Whether it can be listed and written: plain web servers cannot."""
        return self.scheme in ("s3", "gs", "az")

    @property
    def name(self) -> str:
        """Its last part."""
        return self.key.rpartition("/")[2] or self.place

    def __str__(self) -> str:
        return f"{self.base}/{self.key}".rstrip("/")


def parse_url(path: Path) -> Url | Path:
    """The URL that a path is; any other path, and that of `file://`, as a path.

    `pathlib` has made one slash of two.

    Raises:
        InputError: no place in it, or more than an address: credentials, or a query.
    """
    match = _URL.fullmatch(str(path))
    if match is None:
        return path
    scheme, rest = match["scheme"], match["rest"] or ""
    if scheme == "file":
        return Path("/" + rest)
    place, _, key = rest.partition("/")
    if not place:
        raise InputError(f"no bucket or host in {scheme}://", fix=_FIX)
    if "@" in place or "?" in key:
        what = f"credentials in a {scheme}:// address" if "@" in place else f"a query in a {scheme}:// address"
        raise InputError(what, fix="give them as the environment does (docs/scale.md), and the bare address here")
    return Url(scheme, place, key.strip("/"))
