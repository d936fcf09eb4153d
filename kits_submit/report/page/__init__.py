"""A run, a scoring or a training in; one self-contained HTML page out, or a folder of them. Computes no score."""
