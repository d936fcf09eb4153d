"""What a training tells: reports of steps and cases, CSV, TensorBoard, curves, a display. Trains nothing."""
