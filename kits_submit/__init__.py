"""The runtime: volume -> grid -> intensity -> patches, engine, stitch -> grid (back) -> postprocess -> mask.

Needs numpy, scipy, nibabel and ONNX Runtime; knows nothing of torch, training or scoring (`cli` and `commands` alone
wire those in). `from kits_submit import evaluation` reaches scoring as a library, in a checkout and from a wheel alike.
"""

from __future__ import annotations

from types import ModuleType

__version__ = "0.3.0"


def __getattr__(name: str) -> ModuleType:
    if name not in ("evaluation", "train", "export"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    from kits_submit.places import reach_stages

    reach_stages()
    return importlib.import_module(name)
