"""ONNX Runtime on a CPU or an NVIDIA GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from kits_submit.engine.crop import Cells
from kits_submit.engine.cudnn import Settings, cache_folder, remembered
from kits_submit.engine.protocol import CPU_BATCH_VOXELS, OutOfMemory
from kits_submit.errors import BudgetError, DeviceError, first_line
from kits_submit.machine.processors import processors
from kits_submit.types import Batch, Logits

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_FATAL = 4
_CUDA = {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}  # TF32 keeps 10 bits of mantissa
_GPU_BATCH_VOXELS = 1 << 23


def import_onnxruntime() -> Any:
    """The module, with its telemetry switched off first (it is read at import; nothing may leave this machine).

    Its log would fill screens (a line for each convolution that cuDNN has no plan for); what else it tells, and its
    exceptions do not, is why a provider's library cannot be loaded: `_missing` asks for that.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime


def session_options(threads: int = 1) -> Any:
    """Quiet below what is fatal; an operator's work shared by so many threads."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    return options


class OnnxRuntimeEngine:
    """An ONNX Runtime session pinned to one provider.

    Args:
        content: the ONNX file's bytes.
        device: a key of `PROVIDERS`.
        settings: of cuDNN, on `cuda` alone; None takes what was found best here (`engine.cudnn`).
        threads: on the CPU; None: as many as there are processors for this process.
        one_member: of a file of several networks the first one's answer, not the mean.

    Raises:
        BudgetError: there is no memory for it.
        DeviceError: the provider is not in this build, does not start, or another one is active.
    """

    def __init__(
        self,
        content: bytes,
        device: str,
        settings: Settings | None = None,
        threads: int | None = None,
        *,
        one_member: bool = False,
    ) -> None:
        provider = PROVIDERS[device]
        onnxruntime = import_onnxruntime()
        if provider not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"this ONNX Runtime has no {provider}", fix="install onnxruntime-gpu, or use --device cpu"
            )
        if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        self.threads = threads or processors()
        options = session_options(self.threads)
        if device != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                content,
                options,
                providers=[(provider, provider_options(device, content, settings))],
                enable_fallback=False,
            )
        except Exception as error:  # C++ exceptions without a common public base
            refuse_without_memory(error)
            reason = _missing(device) or first_line(error)
            raise DeviceError(f"{provider} did not start ({reason})", fix="try --device auto") from error
        active = self._session.get_providers()[0]
        if active != provider:
            raise DeviceError(f"asked for {provider}, ONNX Runtime gave {active}", fix="try --device auto")
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.device = active
        self.batch_voxels = CPU_BATCH_VOXELS * self.threads if device == "cpu" else _GPU_BATCH_VOXELS
        self._input, *self._cell_inputs = [value.name for value in self._session.get_inputs()]
        self._output = self._session.get_outputs()[int(one_member)].name
        self._only = onnxruntime.RunOptions()
        self._only.only_execute_path_to_fetches = one_member
        self._cuts = device != "tensorrt"  # which builds anew, for minutes, for each part that it has not met
        self._memory = "cpu" if device == "cpu" else "cuda"
        self._binding = self._session.io_binding()
        self._image: Any = None
        self._bound_to: tuple[tuple[int, ...], Cells] | None = None

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        if cells is None or not self._cuts:
            cells = Cells.whole(batch)
        try:
            return self._bound(batch, cells)
        except Exception as error:  # C++ exceptions without a common public base
            self._bound_to = None
            fix = "export the model again" if self._memory == "cpu" else "try --device cpu"
            if not _is_out_of_memory(error):
                raise DeviceError(f"{self.device} failed ({first_line(error)})", fix=fix) from error
            raise OutOfMemory(
                f"{self.device} has no memory left ({first_line(error)})",
                fix="give it more memory, or a smaller --patch",
            ) from error

    def _bound(self, batch: Batch, cells: Cells) -> Logits:
        """Through a buffer on the device, kept while the batch's shape stays: the same code for each."""
        if self._bound_to is not None and self._bound_to[0] == batch.shape:
            self._image.update_inplace(np.ascontiguousarray(batch))
        else:
            self._bound_to = None
            self._buffer = batch.copy()  # on the CPU the value shares it, and the next batch is written into it
            self._image = import_onnxruntime().OrtValue.ortvalue_from_numpy(self._buffer, self._memory, 0)
        if self._bound_to != (batch.shape, cells):
            self._binding.clear_binding_inputs()
            self._binding.clear_binding_outputs()
            self._binding.bind_ortvalue_input(self._input, self._image)
            for name, numbers in cells.inputs(self._cell_inputs).items():
                self._binding.bind_cpu_input(name, numbers)
            self._binding.bind_output(self._output, self._memory)
            self._bound_to = batch.shape, cells
        self._session.run_with_iobinding(self._binding, self._only)
        logits: Logits = self._binding.copy_outputs_to_cpu()[0]
        return logits


def refuse_without_memory(error: Exception) -> None:
    """Raises: BudgetError: the error says that memory was refused."""
    if _is_out_of_memory(error):
        raise BudgetError(f"no memory to load the model ({first_line(error)})", fix="give it more memory") from error


def _missing(device: str) -> str | None:
    """Why a provider's library cannot be loaded, in the loader's words; None where it can, or has none of its own."""
    folder = Path(import_onnxruntime().__file__).parent / "capi"
    library = folder / f"libonnxruntime_providers_{device}.so"
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return first_line(error)
    return None


def provider_options(device: str, content: bytes, settings: Settings | None = None) -> dict[str, str]:
    """What a provider is asked for.

    Args:
        content: the model's bytes. `settings`: of cuDNN; None: those that were remembered for this model.
    """
    if device == "tensorrt":
        return _tensorrt_cache(content)
    if device == "cpu":
        return {}
    return {**_CUDA, **(remembered(content) if settings is None else settings)}


def _tensorrt_cache(content: bytes) -> dict[str, str]:
    """What TensorRT builds takes minutes: kept by model, ONNX Runtime adds GPU and shape."""
    try:
        kept = cache_folder() / hashlib.sha256(content).hexdigest()[:16]
        kept.mkdir(parents=True, exist_ok=True)
    except OSError:
        return {}
    return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(kept)}


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "bad_alloc", "alloc_failed", "available memory of",
                  "cannot allocate memory", "failed to create thread", "resource temporarily unavailable")  # fmt: skip
