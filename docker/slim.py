"""Drop from an image's venv what a run never loads: the libraries' own tests, and OpenVINO's plugins for other devices.

Of OpenVINO the CPU plugin and the ONNX frontend stay; `doctor` in the finished image proves that they suffice.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_OPENVINO = (
    "libopenvino_intel_gpu_plugin.so", "libopenvino_intel_npu_plugin*.so", "libopenvino_*auto*_plugin.so",
    "libopenvino_hetero_plugin.so", "libopenvino_pytorch_frontend.so*", "libopenvino_tensorflow*_frontend.so*",
    "libopenvino_paddle_frontend.so*", "libopenvino_jax_frontend.so*", "libopenvino_gguf_frontend.so*", "cache.json",
)  # fmt: skip


def unused(packages: Path) -> Iterator[Path]:
    """Files and folders to drop, each once."""
    for package in ("numpy", "scipy", "nibabel", "rich", "isal"):
        yield from (folder for folder in (packages / package).rglob("tests") if "tests" not in folder.parent.parts)
    for pattern in _OPENVINO:
        yield from (packages / "openvino" / "libs").glob(pattern)
    yield from packages.glob("openvino/include")


if __name__ == "__main__":
    for path in list(unused(next(Path(sys.argv[1]).glob("lib/python3*/site-packages")))):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
