"""The list of commands and the commands themselves say the same, and help imports no more than it must."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from kits_submit.cli import COMMANDS
from tests.conftest import ROOT


@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_of_help_is_its_docstring_s_first(name):
    command = COMMANDS[name]
    assert command.help == " ".join(inspect.getdoc(command.load()).split("\n\n")[0].split())


@pytest.mark.parametrize(("arguments", "absent"), [("--help", "train.config"), ("run --help", "train.config")])
def test_help_imports_what_it_shows_alone(arguments, absent):
    code = (
        f"import sys; sys.argv = ['kits-submit', *{arguments.split()!r}]\n"
        "from kits_submit.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        f"assert not {{'numpy', 'torch', {absent!r}}} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: kits-submit" in done.stdout
