"""Does this machine run this model, and answer as it should: `doctor`, parity with the CPU, the GPU's own check."""
