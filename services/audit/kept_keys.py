"""Keeps the audit's keys of earlier versions of the pepper, because seals and tags are checked for years.

Each key is kept encrypted under the next version of the pepper. The newest pepper therefore opens all keys, one after
the other, and older peppers need not be kept for the check.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from services.audit.keys import AuditKeys
from services.audit.tables import AuditTables
from services.storage.upsert import insert_if_absent


def keep_older_key(connection: Connection, tables: AuditTables, keys: AuditKeys) -> None:
    """Store the older key, encrypted under the newer key, if two versions are known.

    If an earlier change to the newer version was abandoned, the stored key may be encrypted under another pepper. The
    stored key is then replaced.
    """
    for older in keys.versions[:-1]:
        kept = {"wrapping_version": keys.newest.version, "wrapped_key": keys.newest.wrap(older)}
        new = insert_if_absent(connection, tables.keys).values(key_version=older.version, **kept)
        if not connection.execute(new).rowcount:
            connection.execute(update(tables.keys).where(tables.keys.c.key_version == older.version).values(kept))


def add_kept_keys(connection: Connection, tables: AuditTables, keys: AuditKeys) -> AuditKeys:
    """Return the keys together with the earlier keys that the store keeps."""
    rows = connection.execute(select(tables.keys).order_by(tables.keys.c.key_version.desc())).all()
    for row in rows:
        known = {one.version: one for one in keys.versions}
        wrapping = known.get(row.wrapping_version)
        key = None if wrapping is None or row.key_version in known else wrapping.unwrap(bytes(row.wrapped_key))
        if key is not None:
            keys = keys.with_other(AuditKeys(key, row.key_version))
    return keys
