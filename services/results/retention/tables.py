"""The table that counts, for each store of Results, the rows that purges removed."""

from __future__ import annotations

from services.results.schema import metadata
from services.storage.deletion_counts import deletion_counts_table

deletion_counts = deletion_counts_table(metadata, "results")
