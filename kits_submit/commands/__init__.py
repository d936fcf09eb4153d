"""The commands of `kits-submit`, one module each: wiring of the runtime and, for `run`, of the scorer."""
