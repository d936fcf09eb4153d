"""The runtime: volume -> grid -> intensity -> patches, engine, stitch -> grid (back) -> postprocess -> submission.

Needs numpy, scipy, nibabel and ONNX Runtime; knows nothing of torch, training or scoring (`cli` alone wires those in).
"""

__version__ = "0.2.0"
