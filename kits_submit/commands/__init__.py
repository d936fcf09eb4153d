"""The commands of `kits-submit`, one module each: options in, an exit code out.

They alone wire the runtime to scoring; heavy imports happen inside them, so that `--help` is fast.
"""
