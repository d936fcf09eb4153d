"""Rows of scores in; means with intervals, comparisons and ranks out. Knows no masks and prints nothing."""
