"""Container entry: `run` with the container's folders, nothing but wiring.

entrypoint.py                      /input -> /output
entrypoint.py INPUT OUTPUT ...     the same with other folders and any option of `kits-submit run`
"""

from __future__ import annotations

import sys

from kits_submit.cli import main

DEFAULTS = ("/input", "/output")

if __name__ == "__main__":
    given = sys.argv[1:]
    folders = () if given and not given[0].startswith("-") else DEFAULTS
    main(["run", *folders, *given])
