"""Files in, label maps on one grid out: which masks belong together, whether their grids agree, both read.

Also what is known of each case beside its masks. Does not know what is measured of them.
"""
