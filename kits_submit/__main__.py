"""`python -m kits_submit` is `kits-submit`."""

from kits_submit.cli import main

main()
