"""Find reports of one refusal also by the key under the other version of the pepper.

Earlier reports have no such key.

Revision: 0019, after 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("refusals") as refusals:
        refusals.add_column(sa.Column("other_same_report_key", sa.LargeBinary(length=16), nullable=True))
        refusals.create_index(op.f("ix_refusals_other_same_report_key"), ["other_same_report_key"])


def downgrade() -> None:
    with op.batch_alter_table("refusals") as refusals:
        refusals.drop_index(op.f("ix_refusals_other_same_report_key"))
        refusals.drop_column("other_same_report_key")
