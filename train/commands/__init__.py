"""`kits-submit train`, `tune`, `ablate`, `implant`: options in, a run folder out; torch is imported inside alone."""
