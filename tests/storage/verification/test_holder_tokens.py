"""Each token is accepted once by all processes of a node, and forgotten after its end."""

from __future__ import annotations

import asyncio

from services.domain.instant import SECOND
from services.runtime.clock import FixedClock
from services.storage.engine import open_database
from services.verification.holder_tokens.seal import HolderToken
from services.verification.holder_tokens.store import TokenUse, TokenUses, remove_ended
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW


def token(mark: int, issued: int = NOW) -> HolderToken:
    return HolderToken(bytes([mark]) * 16, b"k" * 16, "", 0, issued)


async def test_a_token_is_accepted_once_and_again_for_the_same_question(database_url: MakeUrl) -> None:
    database = open_database(database_url("verification"))
    uses = TokenUses(database, FixedClock(NOW))
    first = [TokenUse(token(2), "gate 1"), TokenUse(token(1), "gate 1")]
    assert await uses.accept_each(first) == [None, None]
    assert await uses.accept_each(first) == [None, None]
    accepted, refused = await uses.accept_each([TokenUse(token(3), "gate 2"), TokenUse(token(1), "gate 2")])
    assert accepted is None
    assert refused is not None
    assert refused.reason == "HOLDER_TOKEN_USED"
    database.close()


async def test_of_two_processes_one_accepts(database_url: MakeUrl) -> None:
    url = database_url("verification")
    databases = [open_database(url) for _ in range(2)]
    for mark in range(10):
        asked = [
            TokenUses(database, FixedClock(NOW)).accept_each([TokenUse(token(mark), f"gate {number}")])
            for number, database in enumerate(databases)
        ]
        answers = await asyncio.gather(*asked)
        assert sorted(error is None for (error,) in answers) == [False, True]
    for database in databases:
        database.close()


async def test_a_token_is_forgotten_after_its_end(database_url: MakeUrl) -> None:
    database = open_database(database_url("verification"))
    uses = TokenUses(database, FixedClock(NOW))
    await uses.accept_each([TokenUse(token(1, NOW - SECOND), "a"), TokenUse(token(2), "a")])
    assert await database.write(remove_ended, token(2).end_time) == 1
    assert (await uses.accept_each([TokenUse(token(2), "b")]))[0] is not None
    assert (await uses.accept_each([TokenUse(token(1), "b")]))[0] is None
    database.close()
