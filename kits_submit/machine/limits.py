"""How much memory this process may still take: of the machine, its cgroup (a container's limit) and its rlimits."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MEMORY_INFO = Path("/proc/meminfo")
_OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_PAGES = Path("/proc/self/statm")
_CGROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
_V1_NO_LIMIT = 1 << 60  # cgroup v1 says "no limit" by a number near 2^63


@dataclass(frozen=True)
class FreeMemory:
    """- `free_bytes`: what may still be taken; `limit_bytes`: of the limit that binds; `source`: which limit it is."""

    free_bytes: int
    limit_bytes: int
    source: str


def free_memory() -> FreeMemory | None:
    """The least of all limits that this system tells; None where it tells none."""
    return min(_all_limits(), key=lambda limit: limit.free_bytes, default=None)


def _all_limits() -> Iterator[FreeMemory]:
    yield from _of_machine()
    yield from _of_cgroup()
    yield from _of_rlimit()


def _of_machine() -> Iterator[FreeMemory]:
    fields = _table(_MEMORY_INFO)
    if "MemAvailable" in fields:
        free = 1024 * (fields["MemAvailable"] + fields.get("SwapFree", 0))
        yield FreeMemory(free, 1024 * fields["MemTotal"], "memory of this machine")


def _of_cgroup() -> Iterator[FreeMemory]:
    """Of the own cgroup and each above it. Page cache counts as used there, but goes when memory is wanted."""
    for folder, version in own_cgroups("memory"):
        limit_name, used_name, cache_name = _CGROUP_FILES[version]
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None and limit < _V1_NO_LIMIT:
            cache = _table(folder / "memory.stat").get(cache_name, 0)
            yield FreeMemory(max(0, limit - max(0, used - cache)), limit, "memory limit of this container (cgroup)")


def own_cgroups(controller: str) -> Iterator[tuple[Path, int]]:
    """(folder, version) of the control group that holds this process for a controller, then of each above it.

    Inside a container the path in /proc may be the host's and not exist; the root of the mount is the own one then.
    """
    found = own_cgroup(controller)
    if found is None:
        return
    own, version = found
    base = CGROUP_ROOT if version == 2 else CGROUP_ROOT / controller
    for folder in (own, *own.parents):
        if folder.is_relative_to(base):
            yield folder, version


def own_cgroup(controller: str) -> tuple[Path, int] | None:
    """The first of `own_cgroups`; None where there is none."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return None
    unified = None
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controller in controllers.split(","):
            return _existing(CGROUP_ROOT / controller, inside), 1
        if controllers == "":
            unified = _existing(CGROUP_ROOT, inside), 2
    return unified


def _existing(base: Path, inside: str) -> Path:
    own = base / inside.lstrip("/")
    return own if own.is_dir() else base


def _of_rlimit() -> Iterator[FreeMemory]:
    for kind, page_column, name in ((resource.RLIMIT_AS, 0, "ulimit -v"), (resource.RLIMIT_DATA, 5, "ulimit -d")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            used = _pages(page_column) * resource.getpagesize()
            yield FreeMemory(max(0, limit - used), limit, f"address space limit of this process ({name})")


def _pages(column: int) -> int:
    try:
        return int(_OWN_PAGES.read_text().split()[column])
    except (OSError, ValueError, IndexError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # v2 says "max" where there is no limit
        return None


def _table(path: Path) -> dict[str, int]:
    """`name value` or `name: value kB` lines."""
    try:
        rows = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) > 1}
    except (OSError, ValueError):
        return {}
