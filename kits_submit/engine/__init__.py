"""Patches in, logits out, on whichever device answers: the protocol, its engines, the ladder that chooses one.

Knows no volume and no file but the model's.
"""
