"""Know the newest stream of each link, and the last frame that was sent, so that a restored node is noticed.

Until a link begins its next stream, a frame under way counts as not sent. The nodes may then send everything once more.

Revision: 0020, after 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("sent_number", "stream"):
        op.add_column("refusal_links", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("refusal_links") as links:
        for name in ("stream", "sent_number"):
            links.drop_column(name)
