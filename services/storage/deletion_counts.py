"""Counts of what a purge removed from each store of a service. The counts belong to the purge's deletion record.

The counts are kept for ever. Each service has its own table, because it may have its own database. All tables use the
same id for one purge.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, select

from services.storage.upsert import insert_or_update


def deletion_counts_table(metadata: MetaData, service: str) -> Table:
    """Return the table of a service's counts. Its name contains the service, because services may share a database."""
    return Table(
        f"{service}_deletion_counts",
        metadata,
        Column("deletion_id", String(36), primary_key=True),
        # The name of the table from which rows were removed, or of the values that were removed from its rows.
        Column("store", String(64), primary_key=True),
        Column("removed_count", BigInteger, nullable=False),
    )


@dataclass(frozen=True, slots=True)
class DeletionCounts:
    """Adds to the counts of one deletion, in the transactions that remove the rows."""

    table: Table
    deletion_id: str

    def add(self, connection: Connection, store: str, count: int) -> int:
        """Add to the count of a store. Return the added count."""
        if count > 0:
            new = insert_or_update(connection, self.table).values(
                deletion_id=self.deletion_id, store=store, removed_count=count
            )
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=list(self.table.primary_key),
                    set_={"removed_count": self.table.c.removed_count + new.excluded.removed_count},
                )
            )
        return count

    def read(self, connection: Connection) -> dict[str, int]:
        """Return the counts of this deletion by store. Stores from which nothing was removed are absent."""
        table = self.table
        query = select(table.c.store, table.c.removed_count).where(table.c.deletion_id == self.deletion_id)
        return {row.store: row.removed_count for row in connection.execute(query.order_by(table.c.store))}
