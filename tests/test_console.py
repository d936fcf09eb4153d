"""What a command asks of the console ends with it."""

from __future__ import annotations

import pytest

from kits_submit.console import be_quiet, is_quiet, run_guarded
from kits_submit.errors import InputError


@pytest.mark.parametrize("fails", [False, True])
def test_quiet_ends_with_its_command(fails: bool) -> None:
    heard = []

    def body() -> int:
        be_quiet()
        heard.append(is_quiet())
        if fails:
            raise InputError("no", fix="none")
        return 0

    assert run_guarded(body, debug=False) == (3 if fails else 0)
    assert heard == [True]
    assert not is_quiet()
