"""Print the runtime's requirements for an image.

`gpu` adds the CUDA libraries; `cpu` takes ONNX Runtime's CPU build and OpenVINO.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as stream:
    project = tomllib.load(stream)["project"]

runtime = sys.argv[1]
wanted = project["dependencies"]
if runtime == "cpu":
    wanted = [need for need in wanted if not need.startswith("onnxruntime")]
    wanted += ["onnxruntime", *project["optional-dependencies"]["openvino"]]
elif runtime == "gpu":
    wanted = [need.replace("onnxruntime-gpu>", "onnxruntime-gpu[cuda,cudnn]>") for need in wanted]
else:
    sys.exit(f"RUNTIME is {runtime!r}, allowed: gpu, cpu")
sys.stdout.write("\n".join(wanted) + "\n")
