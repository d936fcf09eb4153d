"""Reports, comparisons and rankings in; terminal tables, Markdown, CSV and JSON out.

Computes nothing, and prints nothing: `console` does.
"""
