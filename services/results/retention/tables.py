"""The table of how many rows purges removed from each store of Results."""

from __future__ import annotations

from services.results.schema import metadata
from services.storage.deletion_counts import deletion_counts_table

deletion_counts = deletion_counts_table(metadata, "results")
