"""A trained checkpoint -> one ONNX file with its Recipe: `graph -> onnx -> crop -> verify`. Needs torch and onnx."""

DEPTHWISE_FORMS = ("slices", "dense")  # what `export.depthwise` can write
