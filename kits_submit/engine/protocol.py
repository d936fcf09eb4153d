"""What an engine is. Engines know nothing of volumes, HU or files other than the model."""

from __future__ import annotations

from typing import Protocol

from kits_submit.engine.crop import Cells
from kits_submit.errors import DeviceError
from kits_submit.types import Batch, Logits

CPU_BATCH_VOXELS = 1 << 17  # a thread: larger batches leave its caches (docs/engine.md)


class OutOfMemory(DeviceError):  # noqa: N818 -- as torch and CUDA name it
    """The device has no room for a batch of this size; a smaller one may fit."""


class Engine(Protocol):
    """- `name`: `onnxruntime` or `openvino`, with its version.
    - `device`: what really runs, read back from the library, e.g. `CPUExecutionProvider`.
    - `batch_voxels`: voxels per call that keep the device busy; `kits_submit.inference.stitch.batch_size` divides it.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def batch_voxels(self) -> int: ...

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        """NCZYX float32 in, NKZYX float32 out: of `cells`, or of whole patches where none are asked for or cut.

        Raises:
            OutOfMemory: a smaller batch may pass.
            DeviceError: the device failed.
        """
        ...
