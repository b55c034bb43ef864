"""Read a laboratory's CSV, XLSX and NDJSON files row by row into tubes, and explain faulty rows to its clerks."""
