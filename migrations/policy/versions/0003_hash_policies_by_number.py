"""Hash policies by number: the content hash no longer holds names of fields and enum values, which may change.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from hutong.policy.v1.policy_pb2 import Policy

from services.policy.convert import Statement, revision_from_proto

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_policies = sa.table(
    "policies",
    sa.column("region", sa.String),
    sa.column("policy_id", sa.String),
    sa.column("revision", sa.Integer),
    sa.column("statement", sa.LargeBinary),
    sa.column("content_hash", sa.String),
)


def upgrade() -> None:
    # The service's own function: a hash of any other kind would not be found equal by the service that starts after.
    connection = op.get_bind()
    key = (_policies.c.region, _policies.c.policy_id, _policies.c.revision)
    for row in connection.execute(sa.select(*key, _policies.c.statement)).all():
        statement = Statement(row.region, row.policy_id, Policy.FromString(row.statement))
        hashed = revision_from_proto(statement, row.revision, publish_time=0).content_hash
        matches = [column == value for column, value in zip(key, row[:3], strict=True)]
        connection.execute(sa.update(_policies).where(*matches).values(content_hash=hashed))


def downgrade() -> None:
    """Leave the hashes: the older service would only publish the same content once more, as a new revision."""
