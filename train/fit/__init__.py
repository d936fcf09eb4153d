"""Batches in, weights out: losses, schedule, the loop, held-out scores, checkpoints. Knows no folder of data."""
