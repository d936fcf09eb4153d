"""numpy's own threads, kept off the cores that others compute on."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def numpy_on_one_thread() -> AbstractContextManager[object]:
    """While it lasts, numpy's matrix products take one thread.

    OpenBLAS lets its threads spin for some time after a product, on the cores that others compute with: augmenting two
    patches for the next step made this one a quarter longer (`benchmarks/training.py`: augmented), and two processes
    that resampled a case each took six times as long as with a thread each.
    """
    limited: AbstractContextManager[object] = ThreadpoolController().select(internal_api="openblas").limit(limits=1)
    return limited
