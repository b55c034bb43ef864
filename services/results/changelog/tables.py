"""Tables of the change log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Table

from services.results.schema import metadata
from services.storage.columns import LEFT_OUT
from services.storage.life import LIFE_LENGTH

# Writers of the change log. A transaction locks its writer's row from its entry to its commit. A writer's entries are
# therefore committed in the order of their sequence.
change_writers = Table(
    "change_writers",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=True),
    Column("start_time", BigInteger, nullable=False),
    # The sequence of the writer's newest entry.
    Column("newest_sequence", BigInteger, nullable=False, server_default="0"),
    # The sequence of the newest entry that retention has removed; 0 while all are kept.
    Column("removed_sequence", BigInteger, nullable=False, server_default="0"),
    # The turn of the writer's newest entry.
    Column("newest_turn", BigInteger, nullable=False, server_default="0"),
)

# One row for each commit that changed results, links, laboratories or missing reports, with a compressed list of them.
changes = Table(
    "changes",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    # Counts the writer's commits from 1, without a gap.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("commit_time", BigInteger, nullable=False),
    # Empty for links and laboratories.
    Column("lab", String(18), nullable=False),
    # JSON compressed by zlib: [[report_number, revision], …] in the order of the upload, or [[id, 0], …].
    Column("reports", LargeBinary, nullable=False),
    # The kind of the list, a services.results.changelog.model.ChangeKind.
    Column("kind", SmallInteger, nullable=False, server_default="0"),
    # Greater than the turn of every commit that had ended when the entry was made; 0 if the entry is older than this
    # column.
    Column("turn", BigInteger, nullable=False, server_default="0"),
    # The life of the database in which the entry was made; empty if the entry is older than this column.
    Column("life", String(LIFE_LENGTH), nullable=False, server_default=""),
    # Only while the pepper rotates: for each uploaded report the subject key under the other key version, 16 bytes
    # each, in the order of the list. Zeros stand for a report without another key. NULL without a node above. The
    # column becomes NULL once the node above has the keys, because a thief of the older pepper could find the persons
    # of newer rows by these keys.
    Column("other_keys", LargeBinary),
    # JSON: [[node, writer, life, sequence], …], positions of nodes below this one. With this entry, the node above has
    # everything up to these positions. NULL if there are no such positions, and without a node above.
    Column("positions_below", LargeBinary, info={LEFT_OUT: True}),
)

# The newest sequence that each life reached with each writer, for lives whose newest entries retention has removed.
removed_lives = Table(
    "removed_lives",
    metadata,
    Column("life", String(LIFE_LENGTH), primary_key=True),
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("newest_sequence", BigInteger, nullable=False),
)

# The identity of this node's change log, in one row. A new log has a new identity.
log_identity = Table(
    "log_identity",
    metadata,
    Column("log_id", String(36), primary_key=True),
    # The node above to which this log has sent the contacts of all laboratories; empty if there is none. Contacts that
    # are sent again have no effect.
    Column("contacts_sent_to", String(6), nullable=False, server_default="", info={LEFT_OUT: True}),
)
