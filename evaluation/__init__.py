"""Scoring: geometry first, then overlap, surfaces and lesions of a prediction against the truth.

Knows nothing of torch, ONNX or how a prediction came about; `kits-eval` is its command line, `score` its library face.
"""

from evaluation.library import score

__all__ = ["score"]
