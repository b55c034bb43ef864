"""The store of results: tables, rows, revisions, partitions, and the queries that several packages share."""
