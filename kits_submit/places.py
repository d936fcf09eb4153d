"""Where the things beside this package lie: at the top of a checkout, or inside an installed package.

A checkout has `models/`, `evaluation/`, `train/` and `export/` at its top. A wheel carries them inside `kits_submit/`,
so that no name as common as `train` lands among a machine's packages; `reach_stages` makes them importable by those
names.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent
_STAGES = _PACKAGE / "_stages"
_TOP = _PACKAGE if _STAGES.is_dir() else _PACKAGE.parent

DEFAULT_MODEL = _TOP / "models" / "kits.onnx"


def reach_stages() -> None:
    """Make `evaluation`, `train` and `export` importable in this process and in those that it starts."""
    folder = str(_STAGES if _STAGES.is_dir() else _TOP)
    if folder not in sys.path:
        sys.path.insert(0, folder)
