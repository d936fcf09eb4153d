"""What this machine has: memory and its limits, GPUs, a process's peak. Knows nothing of what it is used for."""
