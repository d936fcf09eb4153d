"""Volumes in; NiiVue with them in it out, packed into a page or served to this machine alone."""
