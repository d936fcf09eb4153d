"""Many cases on many machines, by Ray: a worker a GPU or a share of cores, each running the pipeline of one machine.

In: cases, a model and an address. Out: each case's result and proof, told as on one machine. Knows no scores or tables.
Needs the extra `cluster`; Ray is imported inside functions alone.
"""
