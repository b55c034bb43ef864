"""Keep the time of each laboratory's last upload, so that silent laboratories are found.

Revision: 0035, after 0034
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "last_uploads",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("upload_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", name=op.f("pk_last_uploads")),
    )
    op.execute("INSERT INTO last_uploads SELECT lab, max(last_upload_time) FROM delays GROUP BY lab")


def downgrade() -> None:
    op.drop_table("last_uploads")
