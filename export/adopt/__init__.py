"""Other frameworks' trained networks -> one ONNX file with its Recipe, from where on nobody can tell it from ours.

In: a folder or zip of nnU-Net v2 (`folder -> plans, checkpoint -> network`), or a module or an ONNX file with a Recipe.
Out: `graph`'s file, checked against torch. Knows nothing of volumes; needs torch, onnx and, for nnU-Net's
architectures, dynamic-network-architectures (the extra `adopt`).
"""
