"""A training takes no more threads than the affinity and the container's quota leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from train.commands import shared


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "allowed", "expected"), [(None, 1, 1), (None, 8, 3), (2, 1, 2)])
def test_threads_follow_what_may_be_used(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, allowed: int, expected: int
) -> None:
    monkeypatch.setattr(shared, "processors", lambda: allowed)
    shared.set_threads(asked)
    assert torch.get_num_threads() == expected
