"""Store from which node a laboratory, its standings and a link came, and count what the nation sets aside.

The laboratories of other nodes get the first node that registered them. Standings and links received before count as
this node's own, because it is unknown from which node they came. Homes are empty until a node sends the laboratory
again.

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
    with op.batch_alter_table("labs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source_node", sa.String(length=6), server_default="", nullable=False))
        batch_op.add_column(sa.Column("home", sa.String(length=6), server_default="", nullable=False))
    with op.batch_alter_table("lab_standings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source_node", sa.String(length=6), server_default="", nullable=False))
    with op.batch_alter_table("document_links", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source_node", sa.String(length=6), server_default="", nullable=False))
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("not_its_own_count", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("second_registration_count", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(
        "UPDATE labs SET source_node = (SELECT min(node) FROM lab_homes WHERE lab_homes.uscc = labs.uscc)"
        " WHERE uscc IN (SELECT uscc FROM lab_homes)"
    )


def downgrade() -> None:
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_column("second_registration_count")
        batch_op.drop_column("not_its_own_count")
    with op.batch_alter_table("document_links", schema=None) as batch_op:
        batch_op.drop_column("source_node")
    with op.batch_alter_table("lab_standings", schema=None) as batch_op:
        batch_op.drop_column("source_node")
    with op.batch_alter_table("labs", schema=None) as batch_op:
        batch_op.drop_column("home")
        batch_op.drop_column("source_node")
