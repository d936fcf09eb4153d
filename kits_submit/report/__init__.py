"""For people who would rather look than read: pictures, a page with the scans in it, tables, a progress bar. Computes nothing that is stored."""
