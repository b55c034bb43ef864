"""Record the case that a call named in the audit.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("verification_audit", sa.Column("case_id", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("verification_audit", "case_id")
