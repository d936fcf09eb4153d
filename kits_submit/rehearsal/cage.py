"""The judge's limits around one command: by a container engine, or by what this system grants its user."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from kits_submit.errors import InputError
from kits_submit.rehearsal.cgroups import ControlGroup
from kits_submit.rehearsal.terms import Budget, Limit

ENGINES = ("docker", "podman")
_NETWORKS = Path("/sys/class/net")
_JOIN = (
    'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1/cgroup.procs" || exit 125; shift; n=$((n - 1)); done; exec "$@"'
)
_BIND = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 125; shift; exec "$@"'
_UNSHARE = (
    ("unshare", "--net", "--mount"),
    ("unshare", "--user", "--map-root-user", "--net", "--mount"),
)


class Cage(Protocol):
    """Starts one command under a budget.

    - `limits`: each with how it is held here.
    - `name`: of what holds them.
    """

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> Sequence[Limit]: ...

    def start(self) -> subprocess.Popen[str]: ...

    def root_pid(self) -> int | None:
        """Of the process whose tree is to be measured; None while it is not known."""
        ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class ContainerCage:
    """An image under the flags that Grand Challenge and KiTS document for their judges."""

    def __init__(
        self, engine: str, image: str, source: Path, output: Path, budget: Budget, options: Sequence[str], *, gpu: bool
    ) -> None:
        self.name = f"{engine}, image {image}"
        self._engine = engine
        self._container = f"kits-rehearse-{os.getpid()}"
        self._process: subprocess.Popen[str] | None = None
        self._pid: int | None = None
        gpu_flags = {"docker": ["--gpus", "all"], "podman": ["--device", "nvidia.com/gpu=all"]}[engine] if gpu else []
        user = [] if os.getuid() == 0 else ["--user", f"{os.getuid()}:{os.getgid()}"]
        flags = {
            "no network": ["--network", "none"],
            "memory": ["--memory", str(budget.memory_bytes), "--memory-swap", str(budget.memory_bytes)],
            "processes": ["--pids-limit", str(budget.processes)],
            "open files": ["--ulimit", f"nofile={budget.files}:{budget.files}"],
            "shared memory": ["--shm-size", "128m"],
            "read-only root": ["--read-only", "--tmpfs", "/tmp"],  # noqa: S108 - the container's own
            "no privileges": ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", *user],
            "read-only input": ["--volume", f"{source.resolve()}:/input:ro"],
        }
        self.limits = [Limit(name, " ".join(words), enforced=True) for name, words in flags.items()]
        self.command = [
            engine, "run", "--rm", "--name", self._container, *(word for words in flags.values() for word in words),
            "--volume", f"{output.resolve()}:/output", *gpu_flags, image, *options,
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        self._process = _popen(self.command)
        return self._process

    def root_pid(self) -> int | None:
        if self._pid is None:
            told = _told([self._engine, "inspect", "--format", "{{.State.Pid}}", self._container])
            self._pid = int(told) if told.isdecimal() and int(told) > 0 else None
        return self._pid

    def kill(self) -> None:
        _told([self._engine, "kill", self._container])

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


class ProcessCage:
    """`kits-submit run` as a child, under the limits that this user may set: control groups, namespaces, rlimits."""

    name = "this system's own limits (no container)"

    def __init__(self, source: Path, output: Path, budget: Budget, options: Sequence[str]) -> None:
        self._budget = budget
        self._process: subprocess.Popen[str] | None = None
        self._groups = {name: ControlGroup(name, n) for name, n in _group_limits(budget).items()}
        self._own_tasks = _tasks_of_user()
        folder = source.resolve() if source.is_dir() else source.resolve().parent
        inside = next((way for way in _UNSHARE if _works([*way, "sh", "-c", _BIND, "sh", str(folder), "true"])), ())
        program = [sys.executable, "-m", "kits_submit", "run", str(source.resolve()), str(output.resolve()), *options]
        if inside:
            program = [*inside, "sh", "-c", _BIND, "sh", str(folder), *program]
        joined = [str(group.folder) for group in self._groups.values() if group.folder is not None]
        self.command = ["sh", "-c", _JOIN, "sh", str(len(joined)), *joined, *program]
        self.limits = list(self._held(bool(inside), folder))

    def start(self) -> subprocess.Popen[str]:
        self._process = _popen(self.command, self._set_rlimits)
        return self._process

    def root_pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self.kill()
            self._process.wait()
        for group in self._groups.values():
            group.close()

    def _set_rlimits(self) -> None:
        _lower(resource.RLIMIT_NOFILE, self._budget.files)
        if os.getuid() != 0:
            _lower(resource.RLIMIT_NPROC, self._own_tasks + self._budget.processes)

    def _held(self, inside: bool, folder: Path) -> list[Limit]:
        memory, pids = self._groups["memory"].folder, self._groups["pids"].folder
        alone = not _has_network()
        sealed = not os.access(folder, os.W_OK)
        rlimited = os.getuid() != 0
        return [
            Limit("memory", "control group" if memory else "watched every 0.1 s, and killed above it", enforced=True),
            Limit("processes", "control group" if pids else "ulimit -u" if rlimited else "counted alone: root has no "
                  "ulimit -u", enforced=bool(pids) or rlimited),
            Limit("open files", "ulimit -n", enforced=True),
            Limit("no network", "a network namespace of its own" if inside else "there is none here" if alone
                  else "this system grants no namespace", enforced=inside or alone),
            Limit("read-only input", "mounted read-only" if inside else "it is read-only" if sealed
                  else "checked afterwards alone", enforced=inside or sealed),
            Limit("read-only root", "needs a container", enforced=False),
            Limit("no privileges", f"it runs as user {os.getuid()}", enforced=rlimited),
        ]  # fmt: skip


def find_engine(wanted: str, image: str) -> tuple[str | None, str]:
    """(engine that has the image, why none else): `auto`, a name of `ENGINES`, or `none`.

    Raises:
        InputError: an unknown engine, or the one asked for cannot run the image.
    """
    if wanted not in ("auto", "none", *ENGINES):
        raise InputError(f"unknown engine {wanted!r}", fix=f"use one of auto, none, {', '.join(ENGINES)}")
    reasons = []
    for engine in ENGINES if wanted == "auto" else () if wanted == "none" else (wanted,):
        if shutil.which(engine) is None:
            reasons.append(f"no {engine} here")
        elif not _works([engine, "image", "inspect", image]):
            reasons.append(f"{engine} has no image {image!r} (make image)")
        else:
            return engine, ""
    reason = "; ".join(reasons)
    if wanted in ENGINES:
        raise InputError(reason, fix="build the image, or rehearse without it by --engine none")
    return None, reason


def snapshot(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Size and time of change of every file below a folder, to see whether any was touched."""
    files = folder.rglob("*") if folder.is_dir() else [folder]
    return {str(path): (found.st_size, found.st_mtime_ns) for path in files for found in [path.lstat()]}


def _group_limits(budget: Budget) -> dict[str, int]:
    return {"memory": budget.memory_bytes, "pids": budget.processes}


def _popen(command: Sequence[str], prepare: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - no thread runs yet
    )


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return False


def _told(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""


def _lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    least = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (least, least))


def _tasks_of_user() -> int:
    """Processes and threads of this user, which a process limit counts too."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                count += len(list((folder / "task").iterdir()))
    return count


def _has_network() -> bool:
    return any(interface.name != "lo" for interface in _NETWORKS.iterdir()) if _NETWORKS.is_dir() else True
