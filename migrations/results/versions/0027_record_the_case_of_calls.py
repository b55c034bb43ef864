"""Record the case that a call named in the audit.

Revision: 0027, after 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("results_audit", sa.Column("case_id", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("results_audit", "case_id")
