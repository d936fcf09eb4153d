"""`kits-submit view` as a user calls it: it prints an address, serves the page and ends with Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.report.scenes import write_run


def test_it_prints_its_address_serves_the_case_and_ends(tmp_path: Path) -> None:
    output, source = write_run(tmp_path, ("case_00000",))
    command = [sys.executable, "-m", "kits_submit", "view", "--no-browser", str(source / "case_00000")]
    with subprocess.Popen(
        [*command, str(output / "prediction_00000.nii.gz")], stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        line = running.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", line)
        assert address, line
        with urllib.request.urlopen(address[0], timeout=30) as answer:
            assert b"case_00000" in answer.read()
        with urllib.request.urlopen(f"{address[0]}label.nii", timeout=30) as answer:
            assert len(answer.read()) == 352 + 20 * 60 * 80
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(f"{address[0]}../label.nii", timeout=30)
        refused.value.close()
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
