"""Statements of the laboratories' signing keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256

from hutong_texts import english
from sqlalchemy import Connection, or_, select, update

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.names import format_lab
from services.domain.region import NATION
from services.results.labs.model import MAX_SIGNING_KEYS, SigningKey, merge_keys
from services.results.labs.tables import lab_signing_keys, labs
from services.storage.upsert import insert_if_absent

_keys = lab_signing_keys


def set_signing_key(connection: Connection, uscc: str, key: SigningKey) -> None:
    """Record a laboratory's key, or the revocation of a key, as an entry of this node.

    Raises:
        NotFound: the laboratory is not registered.
        FailedPrecondition: CONFLICT, the key was revoked with an earlier time, or the laboratory has too many keys.
    """
    # The laboratory's row is locked, so that no other transaction adds a key while the keys are counted.
    if connection.execute(select(labs.c.uscc).where(labs.c.uscc == uscc).with_for_update()).first() is None:
        raise NotFound.resource(format_lab(uscc))
    known = {one.public_key: one for one in find_signing_keys(connection, [uscc])[uscc]}
    stored = known.get(key.public_key)
    if stored is None and len(known) >= MAX_SIGNING_KEYS:
        text = english("the laboratory has {most} keys, and keys are never removed", most=MAX_SIGNING_KEYS)
        raise FailedPrecondition("CONFLICT", text, metadata={"resource": format_lab(uscc)})
    if stored is not None and stored.revoke_time is not None:
        if key.revoke_time is None or key.revoke_time > stored.revoke_time:
            text = english("signing_key.revoke_time: the key was revoked from an earlier instant on")
            raise FailedPrecondition("CONFLICT", text, metadata={"resource": format_lab(uscc)})
        if key.revoke_time == stored.revoke_time:
            return
    elif stored is not None and key.revoke_time is None:
        return
    receive_signing_keys(connection, uscc, [key], "")


def receive_signing_keys(connection: Connection, uscc: str, keys: Sequence[SigningKey], source_node: str) -> None:
    """Store keys as a node states them.

    If a key is stored already, the earlier of its stored and its stated revocation counts.
    """
    rows = [
        {
            "uscc": uscc,
            "key_hash": sha256(key.public_key).digest(),
            "source_node": source_node,
            "public_key": key.public_key,
            "create_time": key.create_time,
            "revoke_time": key.revoke_time,
            "actor": key.actor,
        }
        for key in keys
    ]
    if rows:
        connection.execute(insert_if_absent(connection, _keys), rows)
    for row in rows:
        if row["revoke_time"] is not None:
            later = or_(_keys.c.revoke_time.is_(None), _keys.c.revoke_time > row["revoke_time"])
            of_key = [_keys.c[name] == row[name] for name in ("uscc", "key_hash", "source_node")]
            revoked = {name: row[name] for name in ("revoke_time", "actor")}
            connection.execute(update(_keys).where(*of_key, later).values(revoked))


def find_signing_keys(connection: Connection, usccs: Collection[str]) -> dict[str, tuple[SigningKey, ...]]:
    """Return the keys of each laboratory that count: the keys of this node, the nation and the laboratory's home."""
    counts = or_(_keys.c.source_node.in_(("", NATION)), _keys.c.source_node == labs.c.home)
    query = select(_keys).join(labs, labs.c.uscc == _keys.c.uscc).where(_keys.c.uscc.in_(list(usccs)), counts)
    found: dict[str, list[SigningKey]] = {uscc: [] for uscc in usccs}
    for row in connection.execute(query) if usccs else ():
        found[row.uscc].append(SigningKey(bytes(row.public_key), row.create_time, row.revoke_time, row.actor))
    return {uscc: merge_keys(keys) for uscc, keys in found.items()}
