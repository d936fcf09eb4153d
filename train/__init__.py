"""Training, in torch: a folder of labelled cases becomes a checkpoint that carries its Recipe.

`config -> fingerprint -> cache -> sampler -> network -> losses -> loop -> validate -> checkpoint`
"""

CHECKPOINT = "checkpoint.pt"  # in a run folder
