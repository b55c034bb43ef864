"""Store a mark that tells under which pepper and rule of document classes the database was filled.

A database with subject keys from before this revision gets an empty mark. Its keys follow the first rule of classes, so
the service refuses the database.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    marks = op.create_table(
        "verification_pepper_marks",
        sa.Column("key_version", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("key_version", name=op.f("pk_verification_pepper_marks")),
    )
    filled = sa.text(
        "SELECT EXISTS (SELECT 1 FROM decisions WHERE subject_tag IS NOT NULL)"
        " OR EXISTS (SELECT 1 FROM refusals WHERE subject_key IS NOT NULL)"
    )
    if op.get_bind().execute(filled).scalar():
        op.bulk_insert(marks, [{"key_version": 1, "mark": b""}])


def downgrade() -> None:
    op.drop_table("verification_pepper_marks")
