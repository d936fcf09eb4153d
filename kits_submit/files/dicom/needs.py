"""pydicom and highdicom where the extra `dicom` is installed, a line that says so where it is not."""

from __future__ import annotations

import importlib
import logging
import warnings
from functools import cache
from types import ModuleType

from kits_submit.errors import InputError

EXTRA = "pip install 'kits-submit[dicom]'"


@cache
def need(name: str = "pydicom") -> ModuleType:
    """The module, told to keep values of headers (which may name a patient) out of warnings and logs.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        pydicom = importlib.import_module("pydicom")
        module = importlib.import_module(name)
    except ImportError:
        raise InputError(f"DICOM needs {name.partition('.')[0]}, which is not installed", fix=EXTRA) from None
    config = importlib.import_module("pydicom.config")
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger(pydicom.__name__).setLevel(logging.CRITICAL)
    warnings.filterwarnings(
        "ignore", module=r"pydicom|highdicom"
    )  # some name the file, which may be called as a patient
    return module
