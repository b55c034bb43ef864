"""Request ids (AIP-155). The first answer to each id is stored in the transaction that has the effect of the request.

If its caller repeats an id with the same content, the first answer is returned again. With other content, or from
another caller, the call fails with INVALID_ARGUMENT. Contents are compared by a keyed hash, because a request may
contain an identity and must not be stored. The caller is part of the hash, so that no caller gets the answer to
another's request, or takes it for its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message
from hutong_texts import english
from sqlalchemy import BigInteger, Column, Connection, LargeBinary, MetaData, String, Table, select, update

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant
from services.domain.subkeys import Purpose, subkey
from services.runtime.audit import record_request
from services.runtime.call import current_requester
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent

E = TypeVar("E")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class IdempotentRequest(Generic[E, M]):
    """A request that changes something, and the conversion of its outcome to the response.

    Attributes:
        request: has a `request_id`, which may be empty.
        response_type: the type of the response.
        encode: converts the outcome to the response.
        now: when the request arrived.
    """

    request: Message
    response_type: type[M]
    encode: Callable[[E], M]
    now: Instant


class IdempotentWriter:
    """Runs requests in write transactions, once for each request id.

    `secrets` are the keys of the stored hash. They are needed if requests may contain an identity (`answer_once`).
    """

    def __init__(self, database: Database, memory: Table, secrets: Sequence[bytes] = ()) -> None:
        self._database = database
        self._memory = memory
        self._secrets = secrets

    async def write(self, once: IdempotentRequest[E, M], run: Callable[[Connection], E]) -> M:
        """Run a request and return its response. If the request id is known, return the stored response instead.

        Raises:
            InvalidArgument: REQUEST_ID_REUSED, the id was used before with other content or by another caller.
        """

        def change(connection: Connection) -> M:
            response = once.encode(run(connection))
            # The audit row comes last, because from here on the transaction holds a writer of the audit. A repeated
            # request needs no audit row, because it changes nothing.
            record_request(connection)
            return response

        def work(connection: Connection) -> M:
            return answer_once(
                connection,
                self._memory,
                type(once.request).__name__,
                once.request.request_id,  # type: ignore[attr-defined]
                once.request,
                once.now,
                lambda: change(connection),
                response_type=once.response_type,
                secrets=self._secrets,
            )

        return await self._database.write(work)


def request_memory(metadata: MetaData, service: str) -> Table:
    """Return the table of a service's request ids.

    Its name contains the service, because services may share a database.
    """
    return Table(
        f"{service}_request_memory",
        metadata,
        Column("method", String(64), primary_key=True),
        Column("request_id", String(36), primary_key=True),
        Column("content_hash", LargeBinary(32), nullable=False),
        Column("response", LargeBinary, nullable=False),
        Column("create_time", BigInteger, nullable=False),
    )


def answer_once(
    connection: Connection,
    memory: Table,
    method: str,
    request_id: str,
    request: Message,
    now: Instant,
    run: Callable[[], M],
    *,
    response_type: type[M],
    secrets: Sequence[bytes] = (),
) -> M:
    """Run a request and return its response. If the id is known, run nothing and return the first response.

    `secrets` are the keys of the content's hash. They are needed if the request contains an identity, because without a
    key the identity could be found by hashing guesses. The first key makes the stored hash. A stored hash is recognised
    if any of the keys has made it. The id is inserted first, so that the second of two concurrent calls waits and gets
    the response of the first. The caller is that of the current call, so use this function in `Database.write` alone.

    Raises:
        InvalidArgument: REQUEST_ID_REUSED, the id was used before with other content or by another caller.
    """
    if not request_id:
        return run()
    requester = current_requester()
    content = _content_hash(request, secrets[0] if secrets else b"", requester)
    mine = (memory.c.method == method) & (memory.c.request_id == request_id)
    claim = insert_if_absent(connection, memory).values(
        method=method, request_id=request_id, content_hash=content, response=b"", create_time=now
    )
    if connection.execute(claim).rowcount == 0:
        earlier = find_answer(
            connection,
            memory,
            method,
            request_id,
            request,
            response_type=response_type,
            requester=requester,
            secrets=secrets,
        )
        assert earlier is not None
        return earlier
    response = run()
    connection.execute(update(memory).where(mine).values(response=response.SerializeToString()))
    return response


def find_answer(
    connection: Connection,
    memory: Table,
    method: str,
    request_id: str,
    request: Message,
    *,
    response_type: type[M],
    requester: str,
    secrets: Sequence[bytes] = (),
) -> M | None:
    """Return the stored response to a request id; None if the id is new.

    Requests that take several transactions begin with this question.

    `requester` is `current_requester()` of the call.

    Raises:
        InvalidArgument: REQUEST_ID_REUSED, the id was used before with other content or by another caller.
    """
    query = select(memory.c.content_hash, memory.c.response)
    row = connection.execute(query.where(memory.c.method == method, memory.c.request_id == request_id)).first()
    if row is None:
        return None
    # The hashes of former releases lack the requester. No row gets such a hash any more.
    requesters = {requester, ""}
    if bytes(row.content_hash) not in {
        _content_hash(request, secret, one) for secret in secrets or (b"",) for one in requesters
    }:
        raise InvalidArgument.field(
            "request_id", english("was used before with other content or by another caller"), "REQUEST_ID_REUSED"
        )
    return response_type.FromString(row.response)


def _content_hash(request: Message, secret: bytes, requester: str) -> bytes:
    content = request.SerializeToString(deterministic=True)
    key = subkey(secret, Purpose.REQUEST_MEMORY) if secret else b""
    return hashlib.blake2b(content, key=key, digest_size=32, person=_digest_of(requester)).digest()


def _digest_of(requester: str) -> bytes:
    """Return what makes the hash the requester's own. BLAKE2b takes 16 bytes for it."""
    return hashlib.blake2b(requester.encode(), digest_size=16).digest() if requester else b""
