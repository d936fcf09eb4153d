"""A folder of labelled CT in; a Recipe, a split, a cache and batches of patches out. Knows no network and no loss."""
