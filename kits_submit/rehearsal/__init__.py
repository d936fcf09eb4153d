"""The judge's run on one's own machine: the same limits, everything measured, a plain verdict."""
