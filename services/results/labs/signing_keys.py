"""Statements of the laboratories' signing keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
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
    """Record a key of a laboratory at this node, or its revocation.

    Raises:
        NotFound: the laboratory is not registered.
        FailedPrecondition: CONFLICT, the key was revoked earlier, or there are too many keys.
    """
    # The row is locked, so that the keys are counted without another change meanwhile.
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


def receive_signing_keys(connection: Connection, uscc: str, keys: Iterable[SigningKey], source_node: str) -> None:
    """Store keys as a node states them. A key that is stored keeps the earlier of both revocations."""
    for key in keys:
        key_hash = sha256(key.public_key).digest()
        row = {
            "uscc": uscc,
            "key_hash": key_hash,
            "source_node": source_node,
            "public_key": key.public_key,
            "create_time": key.create_time,
            "revoke_time": key.revoke_time,
            "actor": key.actor,
        }
        if connection.execute(insert_if_absent(connection, _keys).values(row)).rowcount or key.revoke_time is None:
            continue
        later = or_(_keys.c.revoke_time.is_(None), _keys.c.revoke_time > key.revoke_time)
        of_key = (_keys.c.uscc == uscc, _keys.c.key_hash == key_hash, _keys.c.source_node == source_node, later)
        connection.execute(update(_keys).where(*of_key).values(revoke_time=key.revoke_time, actor=key.actor))


def find_signing_keys(connection: Connection, usccs: Collection[str]) -> defaultdict[str, tuple[SigningKey, ...]]:
    """Return the keys that count, by laboratory: those of this node, the nation and the laboratory's home."""
    counts = or_(_keys.c.source_node.in_(("", NATION)), _keys.c.source_node == labs.c.home)
    query = select(_keys).join(labs, labs.c.uscc == _keys.c.uscc).where(_keys.c.uscc.in_(list(usccs)), counts)
    found: defaultdict[str, tuple[SigningKey, ...]] = defaultdict(tuple)
    for row in connection.execute(query) if usccs else ():
        key = SigningKey(bytes(row.public_key), row.create_time, row.revoke_time, row.actor)
        found[row.uscc] = merge_keys(found[row.uscc], [key])
    return found
