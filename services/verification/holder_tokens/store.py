"""Accepts each token once at this node, whichever of its processes is asked."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import structlog
from hutong_texts import english
from sqlalchemy import Connection, delete, select

from services.domain.errors import HutongError, InvalidArgument
from services.domain.instant import Instant
from services.domain.subject import KEY_LENGTH
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent
from services.verification.holder_tokens.seal import FIELD, HolderToken
from services.verification.holder_tokens.tables import used_holder_tokens

PURGE_SECONDS = 60.0
"""The time between two removals of the rows of ended tokens. A row is kept about as long as its token."""
_log = structlog.get_logger(__name__)


class TokenUse(NamedTuple):
    """A token that is shown with a question. `question` is `Asker.question`."""

    token: HolderToken
    question: str


class TokenUses:
    """The tokens that this node has accepted."""

    def __init__(self, database: Database, clock: Clock, purge_seconds: float = PURGE_SECONDS) -> None:
        self._database = database
        self._clock = clock
        self._purge_seconds = purge_seconds

    async def accept_each(self, uses: Sequence[TokenUse]) -> list[InvalidArgument | None]:
        """Accept tokens. For each return None, or an error if the token was shown before with another question.

        The accepted tokens are stored durably when this returns.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        accepted = await self._database.write(accept_tokens, uses)
        text = english("was shown here before; show a new one")
        return [None if one else InvalidArgument.field(FIELD, text, "HOLDER_TOKEN_USED") for one in accepted]

    async def purge(self) -> None:
        """Remove the rows of ended tokens again and again. A background job."""
        while True:
            await asyncio.sleep(self._purge_seconds)
            try:
                await self._database.write(remove_ended, self._clock.now())
            except HutongError as error:
                _log.warning("the rows of ended tokens stay until the next round", reason=error.reason)


def accept_tokens(connection: Connection, uses: Sequence[TokenUse]) -> list[bool]:
    """Insert the tokens that are new.

    Return for each token whether it is accepted: it is new, or was shown before with the same question.
    """
    accepted = [False] * len(uses)
    # All transactions insert in one order, so that two of them never deadlock.
    for index in sorted(range(len(uses)), key=lambda index: uses[index].token.token_id):
        token, question = uses[index]
        # A question without an id cannot be recognised when it is asked again. It gets a random hash, which equals no
        # other hash.
        identity = question.encode() or secrets.token_bytes(KEY_LENGTH)
        question_hash = blake2b(identity, digest_size=KEY_LENGTH).digest()
        row = {"token_id": token.token_id, "question_hash": question_hash, "end_time": token.end_time}
        if connection.execute(insert_if_absent(connection, used_holder_tokens).values(row)).rowcount:
            accepted[index] = True
        else:
            known = select(used_holder_tokens.c.question_hash).where(used_holder_tokens.c.token_id == token.token_id)
            stored = connection.execute(known).scalar()
            accepted[index] = stored is not None and bytes(stored) == question_hash
    return accepted


def remove_ended(connection: Connection, now: Instant) -> int:
    """Remove the rows of tokens that no node accepts any longer. Return their number."""
    return connection.execute(delete(used_holder_tokens).where(used_holder_tokens.c.end_time < now)).rowcount
