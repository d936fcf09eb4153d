"""Engines that run the exported network: one protocol, one module per library, and the ladder that chooses."""
