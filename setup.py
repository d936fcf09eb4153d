"""Where the checkout's top-level folders go in a wheel: inside `kits_submit/`, for `train` is nobody's name.

    evaluation/ train/ export/    kits_submit/_stages/..., found by `kits_submit.places`
    models/                       kits_submit/models/, where it is there (an image brings its own model)

An editable install leaves them where they lie. Everything else about the project stands in pyproject.toml.
"""

import sys
from pathlib import Path

from setuptools import find_packages, setup

STAGES = ("evaluation", "train", "export")
EDITABLE = "editable_wheel" in sys.argv

packages = find_packages(include=["kits_submit*"])
folders = {}
for stage in STAGES:
    prefix = "" if EDITABLE else "kits_submit._stages."
    packages += [f"{prefix}{package}" for package in find_packages(include=[stage, f"{stage}.*"])]
    folders[f"{prefix}{stage}"] = stage
if Path("models").is_dir() and not EDITABLE:
    packages.append("kits_submit.models")
    folders["kits_submit.models"] = "models"

setup(
    packages=packages,
    package_dir=folders,
    package_data={
        "kits_submit": ["py.typed", "data/*.npz", "report/assets/*"],
        "kits_submit.models": ["kits.onnx", "MODEL_CARD.md"],
    },
)
