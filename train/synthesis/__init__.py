"""What training sees beside the scans: changed contrast and geometry, tumors and cysts drawn into real kidneys.

In: volumes with labels. Out: the same, changed, as a function of a seed.
"""
