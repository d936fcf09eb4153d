"""A call of a function on another node, where the stages (scoring) are found as our own commands find them."""

from __future__ import annotations

import pickle

from kits_submit.places import reach_stages


def packed(function: object, *arguments: object) -> bytes:
    """A call to be sent; the function is a module's own."""
    return pickle.dumps((function, arguments))


def called(call: bytes) -> bytes:
    """Its answer, packed: a node may know the answer's class only after it knows where the stages lie."""
    reach_stages()
    function, arguments = pickle.loads(call)  # noqa: S301 - of our own run, through its cluster
    return pickle.dumps(function(*arguments))
