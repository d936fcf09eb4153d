"""Print the runtime's requirements for an image.

`gpu` adds the CUDA libraries; `cpu` takes ONNX Runtime's CPU build and OpenVINO. pandas, which only
`evaluation.report.Report.to_frame` needs, is for interactive use and left out. A second argument names extras to add.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as stream:
    project = tomllib.load(stream)["project"]

runtime = sys.argv[1]
extras = [name for name in ",".join(sys.argv[2:]).split(",") if name]
wanted = [need for need in project["dependencies"] if not need.startswith("pandas")]
if runtime == "cpu":
    wanted = [need for need in wanted if not need.startswith("onnxruntime")]
    wanted += ["onnxruntime", *project["optional-dependencies"]["openvino"]]
elif runtime == "gpu":
    wanted = [need.replace("onnxruntime-gpu>", "onnxruntime-gpu[cuda,cudnn]>") for need in wanted]
else:
    sys.exit(f"RUNTIME is {runtime!r}, allowed: gpu, cpu")
wanted += [need for name in extras for need in project["optional-dependencies"][name]]
sys.stdout.write("\n".join(wanted) + "\n")
