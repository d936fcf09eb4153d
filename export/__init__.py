"""A trained checkpoint -> one ONNX file with its Recipe: `graph -> onnx -> crop -> verify`. Needs torch and onnx."""

DEPTHWISE_FORMS = ("slices", "dense")  # what `export.depthwise` can write
HALF_FORM = "dense"  # what fp16 needs, where none is named
