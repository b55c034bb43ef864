"""Store no evidence as an empty value of bytes in SQLite. Its default was an empty text, which cannot be read as bytes.

Reports of the time before revision 0014 have the default. So do reports that processes of the previous release still
store.

Revision: 0018, after 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_COLUMNS = ("evidence", "shown_decision")


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in _COLUMNS:
        with op.batch_alter_table("refusals") as refusals:
            refusals.alter_column(name, existing_type=sa.LargeBinary(), server_default=sa.text("(x'')"))
    refused = sa.table("refusals", *(sa.column(name, sa.LargeBinary()) for name in _COLUMNS))
    for column in refused.columns:
        empty = sa.update(refused).where(sa.func.typeof(column) == "text").values({column.name: b""})
        op.execute(empty)


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    with op.batch_alter_table("refusals") as refusals:
        for name in _COLUMNS:
            refusals.alter_column(name, existing_type=sa.LargeBinary(), server_default="")
