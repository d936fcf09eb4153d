"""One volume in, one label map out: grid, intensity, patches, stitch, restore, postprocess (`pipeline` is the way).

In: planes of HU and an engine. Out: a refined mask on the source grid. Knows no file names and no other case.
"""
