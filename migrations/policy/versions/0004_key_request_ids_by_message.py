"""Store request ids under the name of the request message instead of the method, as Results does.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_METHODS = ("PublishPolicy", "WithdrawPolicy")

_memory = sa.table("policy_request_memory", sa.column("method", sa.String))


def upgrade() -> None:
    for method in _METHODS:
        op.execute(_memory.update().where(_memory.c.method == method).values(method=f"{method}Request"))


def downgrade() -> None:
    for method in _METHODS:
        op.execute(_memory.update().where(_memory.c.method == f"{method}Request").values(method=method))
