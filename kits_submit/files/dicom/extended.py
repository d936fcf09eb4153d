"""JPEG Extended of 12 bits (PS3.5 A.4.2) by GDCM, which pydicom does not ask for it (pydicom.pixels.decoders.gdcm)."""

from __future__ import annotations

from typing import Any

import numpy as np

from kits_submit.files.dicom.headers import Slice
from kits_submit.files.dicom.needs import need
from kits_submit.types import Array

SYNTAX = "1.2.840.10008.1.2.4.51"


def is_extended(one: Slice) -> bool:
    """Whether a slice is such a one; of 8 bits it is pydicom's."""
    return one.syntax == SYNTAX and one.bits[1] > 8


def decode_extended(dataset: Any, one: Slice) -> Array:
    """Rows x columns as stored.

    Raises:
        ValueError: GDCM cannot decode it.
    """
    gdcm = need("gdcm")
    count = int(dataset.get("NumberOfFrames") or 1)
    frame = need("pydicom.encaps").get_frame(dataset.PixelData, one.frame or 0, number_of_frames=count)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    allocated, stored, signed = one.bits
    rows, columns = one.shape
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(SYNTAX)))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, int(signed)))
    held = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM gives bytes as text
    if len(held) != rows * columns * 2:
        raise ValueError(f"{len(held)} bytes, not {rows * columns * 2}")
    return np.frombuffer(held, "<i2" if signed else "<u2").reshape(rows, columns)
