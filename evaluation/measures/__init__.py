"""Two label maps in, numbers of one case out: overlap, surfaces, distances, volumes, lesions.

Does not know files, other cases, or how a number is shown.
"""
