"""Reports in; terminal tables, CSV, JSON and Markdown out. Computes no score."""
