"""Record the case that a call named in the audit.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy_audit", sa.Column("case_id", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("policy_audit", "case_id")
