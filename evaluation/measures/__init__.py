"""Two masks in, numbers out: overlap, surfaces, lesions, each with its empty-mask rule. Knows no files, no cases."""
