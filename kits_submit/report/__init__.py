"""For people who would rather look than read: pictures, tables, a progress bar. Computes nothing that is stored."""
