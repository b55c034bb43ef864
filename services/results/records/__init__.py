"""The store of results: tables, rows, revisions, partitions and what every reader asks."""
