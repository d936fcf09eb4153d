"""Buckets and URLs: INPUT, OUTPUT, LABELS and MODEL at `s3:`, `gs:`, `az:`, `https:`; `file:` is a folder here.

In: a URL. Out: a path below a mount (`kits_submit.mounts`), which the rest of the program takes for a folder here.
Needs the extra `remote` (obstore). Knows no volume format and no network.
"""
