"""Add the normal form of each laboratory's name, by which the laboratory of a paper without a code is found.

This migration also writes the normal forms of the laboratories that are registered already. A register has some ten
thousand laboratories, so this takes about a second. On PostgreSQL the column is ordered by code point, so that the
column's index serves prefixes too.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.domain.normal_form import normal_form

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NORMAL_NAME = sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("labs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("normal_name", _NORMAL_NAME, server_default="", nullable=False))
    labs = sa.table("labs", sa.column("uscc"), sa.column("display_name"), sa.column("normal_name"))
    connection = op.get_bind()
    names = connection.execute(sa.select(labs.c.uscc, labs.c.display_name)).all()
    if names:
        statement = labs.update().where(labs.c.uscc == sa.bindparam("code")).values(normal_name=sa.bindparam("form"))
        connection.execute(statement, [{"code": uscc, "form": normal_form(name)} for uscc, name in names])
    op.create_index("ix_labs_normal_name", "labs", ["normal_name"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_labs_normal_name", table_name="labs")
    with op.batch_alter_table("labs", schema=None) as batch_op:
        batch_op.drop_column("normal_name")
