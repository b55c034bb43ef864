"""A laboratory's files, read row by row: CSV, XLSX and NDJSON into tubes, and words for the clerk where one is bad."""
