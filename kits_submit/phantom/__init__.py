"""Synthetic KiTS cases: a contrast CT of a random abdomen with kidneys, cysts and tumors, and its labels.

`draw_phantom(seed, index)` draws one, `write_phantom` and `write_phantoms` put them on disk in KiTS19's layout.
A phantom is made to exercise programs and to start training on, not to replace patients: it knows the shapes,
HU and sizes of the organs, not their diseases.

    shapes.py    implicit shapes in mm, softened into voxels inside their bounding boxes
    phases.py    contrast phases and the HU of every tissue in them
    body.py      the trunk's layers as radii by angle and height
    torso.py spine.py organs.py bowel.py kidneys.py cysts.py cystic.py tumors.py   what is drawn, back to front
    scanner.py   voxel sizes, field of view, slice blur, noise
    draw.py      a patient, then a phantom
    around.py    an abdomen around a label map that somebody else drew
    write.py     NIfTI files
"""

from kits_submit.phantom.draw import Phantom, draw_phantom, kits_affine
from kits_submit.phantom.write import write_around, write_case, write_phantom, write_phantoms

__all__ = ["Phantom", "draw_phantom", "kits_affine", "write_around", "write_case", "write_phantom", "write_phantoms"]
