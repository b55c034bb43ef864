"""Rename tables and columns to the words of the contract. No row is touched.

SQLite cannot rename an index, so the one on results is built again there. On SQLite the names of primary keys also stay
as they are in the tables' definitions, because nothing refers to these names. On PostgreSQL partitions follow their
parent.

Revision: 0008, after 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = {
    "follow_ups": "missing_reports",
    "followed_subjects": "subscriptions",
    "notices": "notifications",
    "notice_places": "notification_positions",
    "nationwide_places": "acknowledged_positions",
    "replicated_places": "replicated_positions",
    "nationwide_times": "national_receive_times",
    "nationwide_delays": "national_delays",
}
COLUMNS = {
    ("results", "file_time"): "reference_time",
    ("results", "nationwide_time"): "national_receive_time",
    ("results", "origin"): "source_node",
    ("report_keys", "file_time"): "reference_time",
    ("document_links", "remove_time"): "unlink_time",
    ("document_links", "remove_reason"): "unlink_reason",
    ("nodes", "newest_notice"): "newest_notification",
    ("missing_reports", "raised_by"): "raising_node",
    ("subscriptions", "follow_time"): "subscribe_time",
    ("national_receive_times", "nationwide_time"): "national_receive_time",
}
"""The columns' new names, by the new name of the table and the old name of the column."""
INDEXES = {
    "ix_results_subject_key_file_time": (
        "ix_results_subject_key_reference_time",
        "results",
        ["subject_key"],
        "file_time",
        "reference_time",
    ),
    "ix_follow_ups_create_time": (
        "ix_missing_reports_create_time",
        "missing_reports",
        [],
        "create_time",
        "create_time",
    ),
}
"""For each old index name: the new name, the table, the columns, and the last column's old and new name."""


def upgrade() -> None:
    for old, new in TABLES.items():
        op.execute(f"ALTER TABLE {old} RENAME TO {new}")
        if _names_constraints():
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT pk_{old} TO pk_{new}")
    for (table, column), new in COLUMNS.items():
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO {new}")
    for old, (new, table, columns, _, last) in INDEXES.items():
        _rename_index(old, new, table, [*columns, last])


def downgrade() -> None:
    for (table, column), new in COLUMNS.items():
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {column}")
    for old, (new, table, columns, last, _) in INDEXES.items():
        _rename_index(new, old, table, [*columns, last])
    for old, new in TABLES.items():
        if _names_constraints():
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT pk_{new} TO pk_{old}")
        op.execute(f"ALTER TABLE {new} RENAME TO {old}")


def _names_constraints() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _rename_index(old: str, new: str, table: str, columns: list[str]) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    else:
        op.drop_index(old, table)
        op.create_index(new, table, columns, unique=False)
