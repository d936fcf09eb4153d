"""OpenVINO on a CPU, in fp32 (its default on some processors is bf16), or in bf16 where that is asked for."""

from __future__ import annotations

import importlib.util

import numpy as np

from kits_submit.engine.crop import Cells
from kits_submit.engine.protocol import CPU_BATCH_VOXELS
from kits_submit.errors import DeviceError, first_line
from kits_submit.machine.processors import processors
from kits_submit.types import Batch, Logits

FP32, BF16 = "fp32", "bf16"
_HINTS = {FP32: "f32", BF16: "bf16"}


def openvino_installed() -> bool:
    """Whether the package is there, without loading it."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoEngine:
    """A compiled OpenVINO model.

    Args:
        content: the ONNX file's bytes.
        threads: None: as many as there are processors for this process.
        precision: `fp32` or `bf16`: of the arithmetic; the file's weights stay.
        one_member: of a file of several networks the first one's answer, not the mean.

    Raises:
        DeviceError: OpenVINO is not installed or does not take the model, or this processor does not multiply bf16.
    """

    def __init__(
        self, content: bytes, threads: int | None = None, precision: str = "fp32", *, one_member: bool = False
    ) -> None:
        if not openvino_installed():
            raise DeviceError("OpenVINO is not installed", fix="pip install kits-submit[openvino], or use --device cpu")
        try:
            import openvino
        except (ImportError, OSError) as error:
            raise DeviceError(f"OpenVINO does not load ({first_line(error)})", fix="install it again") from error
        core = openvino.Core()
        wanted = threads or processors()
        if precision == BF16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError("this processor does not multiply bf16", fix="use --precision fp32")
        hints = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": wanted,
        }
        try:
            model = core.read_model(content)
            names = [port.get_any_name() for port in model.inputs]
            if len(model.outputs) > 1:
                model = openvino.Model([model.outputs[int(one_member)]], model.get_parameters())
            self._compiled = core.compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO did not start ({first_line(error)})", fix="use --device cpu") from error
        self._request = self._compiled.create_infer_request()
        self.name = f"openvino {openvino.__version__.split('-')[0]}"
        self.device = str(self._compiled.get_property("EXECUTION_DEVICES")[0])
        self.precision = precision
        self.threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        self.batch_voxels = CPU_BATCH_VOXELS * self.threads
        self._image, *self._cell_inputs = names

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        inputs = {self._image: batch, **(cells or Cells.whole(batch)).inputs(self._cell_inputs)}
        try:
            result = self._request.infer(inputs)
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO failed ({first_line(error)})", fix="use --device cpu") from error
        return np.array(result[0], np.float32)
