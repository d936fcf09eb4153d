"""Threads follow the affinity and the container's quota, not the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kits_submit.machine import limits, processors
from tests.conftest import save
from tests.faults.conftest import drive, manifest, model, scan  # noqa: F401 - a fixture


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 4),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("800000 100000", 4),
        ("?", 4),
    ],
)
def test_a_v2_quota(tmp_path, monkeypatch, quota, expected):
    own = tmp_path / "fs" / "a" / "b"
    own.mkdir(parents=True)
    (own.parent / "cpu.max").write_text(quota)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    assert count(monkeypatch, tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 4), ("100000", 1), ("250000", 3)])
def test_a_v1_quota(tmp_path, monkeypatch, quota, expected):
    own = tmp_path / "fs" / "cpu" / "a"
    own.mkdir(parents=True)
    (own / "cpu.cfs_quota_us").write_text(quota)
    (own / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/a\n0::/\n")
    assert count(monkeypatch, tmp_path) == expected


def count(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    monkeypatch.setattr(limits, "CGROUP_ROOT", folder / "fs")
    monkeypatch.setattr(limits, "_OWN_CGROUPS", folder / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    return processors.processors()


@pytest.mark.parametrize(
    ("wrapper", "options", "threads"), [(("taskset", "-c", "0"), (), 1), ((), ("--threads", 3), 3)]
)
def test_the_manifest_says_what_was_used(tmp_path, model, wrapper, options, threads):  # noqa: F811
    save(tmp_path / "in" / "case_00001.nii.gz", scan())
    out = tmp_path / "out"
    ended = drive(tmp_path / "in", out, "--model", model, "--device", "cpu", *options, wrapper=wrapper)
    assert (ended.code, manifest(out)["threads"]) == (0, threads)
