"""Keep totals of delays by city and day, so that a summary of a country reads few rows.

No row is included in the totals at first. The service includes the rows in small transactions. Until then a summary
reads the rows themselves. A process of the previous release changes only `persons`, so its rows count as new.

At first every row is new, so an index of the new rows is as large as the table. PostgreSQL builds it online, after the
migrations (`services/storage/schema/online_indexes.py`).

Revision: 0040, after 0039
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

_TOTALS = {"delays": "city_delays", "national_delays": "city_national_delays"}


def upgrade() -> None:
    is_new = sa.text("persons <> counted")
    for table, totals in _TOTALS.items():
        op.add_column(table, sa.Column("counted", sa.BigInteger(), nullable=False, server_default="0"))
        if op.get_bind().dialect.name == "sqlite":
            op.create_index(f"ix_{table}_new", table, ["report_hour", "lab", "delay_class"], sqlite_where=is_new)
        last_upload_time = [sa.Column("last_upload_time", sa.BigInteger(), nullable=False)]
        op.create_table(
            totals,
            sa.Column("report_day", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("city", sa.String(length=6), nullable=False),
            sa.Column("delay_class", sa.SmallInteger(), autoincrement=False, nullable=False),
            sa.Column("persons", sa.BigInteger(), nullable=False),
            *(last_upload_time if table == "delays" else []),
            sa.PrimaryKeyConstraint("report_day", "city", "delay_class", name=op.f(f"pk_{totals}")),
            sqlite_with_rowid=False,
        )


def downgrade() -> None:
    for table, totals in _TOTALS.items():
        op.drop_table(totals)
        op.drop_index(f"ix_{table}_new", table, if_exists=True)
        with op.batch_alter_table(table) as batch:
            batch.drop_column("counted")
