"""Forget the content hashes of policies, because these hashes cover names that have changed since.

When the service reads a policy without a hash, it computes the hash.

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
    """Leave the hashes as they are. At worst the older service publishes the same content again as a new revision."""
