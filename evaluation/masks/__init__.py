"""Which files belong together, are they on one grid, and their voxels. Knows no measure."""
