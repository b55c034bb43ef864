"""Readers of the formats of files: text with separators, NDJSON and workbooks."""
