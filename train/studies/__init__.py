"""Trainings compared and tuned: postprocessing thresholds, the paper's Tables 2 to 4."""
