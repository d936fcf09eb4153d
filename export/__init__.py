"""A trained checkpoint -> one ONNX file that carries its Recipe: `graph -> onnx -> verify`. Needs torch and onnx."""

DEPTHWISE_FORMS = ("slices", "dense")  # what `export.depthwise` can write
