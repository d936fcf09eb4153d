"""A trained checkpoint -> one ONNX file that carries its Recipe: `graph -> onnx -> verify`. Needs torch and onnx."""
