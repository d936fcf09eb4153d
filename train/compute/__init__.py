"""What computes: the device and its precision, several workers as one. Knows no network of its own."""
