"""Forget the content hashes of policies, because they were taken over names that have changed since.

The service computes the hash of a policy without one when it reads it.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    policies = sa.table("policies", sa.column("content_hash", sa.String))
    op.execute(policies.update().values(content_hash=""))


def downgrade() -> None:
    """Leave the hashes. At worst the older service publishes the same content again as a new revision."""
