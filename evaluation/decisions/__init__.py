"""Rows of numbers in, what they say out: summaries with intervals, comparisons, rankings, strata, agreement.

Pure data: does not know masks or files, and shows nothing.
"""
