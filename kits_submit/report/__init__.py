"""For people who would rather look than read: pictures, a page with the scans in it, tables, a progress bar.

Masks, scans and what was measured of them in; PNG and HTML out. Computes nothing that is stored, knows no score's rule.
"""
