"""Results that are found only if the name fits: what another name costs and answers is what an unknown person does."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest, BatchLookupColumnsResponse
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM,
    CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    LOOKUP_SCOPE_LOCAL,
    LOOKUP_SCOPE_NATIONWIDE,
    SOURCE_STATE_OK,
    ClaimedReport,
    DataSource,
)
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, LookupLatestRequest
from sqlalchemy import Connection, event, update

from services.domain.document import canonical_document
from services.domain.errors import FailedPrecondition, InvalidArgument
from services.domain.instant import to_timestamp
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.store import link_documents
from services.results.lookup.fitting import fitting
from services.results.lookup.lookup import LookupHandler
from services.results.lookup.nationwide import NationwideLookup
from services.results.records.tables import results
from services.runtime.ids import uuid7
from services.storage.engine import Database
from services.storage.pepper_marks import marks_of
from services.verification.sources.lookup_batch import batch_of
from services.verification.sources.model import LookUp
from tests.support.results.factories import ANTIGEN, LAB_NAME, NOW, PEPPER, make_document, make_tube, subject_key
from tests.support.results.operations import register
from tests.support.results.store import Laboratory
from tests.support.results.stored import stored
from tests.support.work import counting_work

HERE = DataSource(node=f"nodes/{NATION}", state=SOURCE_STATE_OK, as_of_time=to_timestamp(NOW))
STRANGER = 9


class Fresh:
    """The nation, which has everything that its nodes have."""

    async def sources(self) -> list[DataSource]:
        return [HERE]

    async def await_fresh(self, tokens: object) -> None: ...

    def remember(self, *_: Any) -> None:
        """Forget a missing report."""


def handler_of(laboratory: Laboratory) -> LookupHandler:
    store, fresh = laboratory.stores.lookup, Fresh()
    nationwide = NationwideLookup(store, NATION, laboratory.clock, fresh, None)
    return LookupHandler(store, PEPPER, NATION, laboratory.clock, fresh, nationwide)  # type: ignore[arg-type]


def look_up(person: int, name: str | None = None, *, claims: bool = False, **fields: Any) -> BatchLookupColumnsRequest:
    """Return a look-up of one person, with the person's own name unless one is given."""
    document = make_document(person)
    if name is not None:
        document.name = name
    claimed = [ClaimedReport(lab=LAB_NAME, report_number="R0")] if claims else []
    request = LookupLatestRequest(document=document, claimed_reports=claimed, **fields)
    return BatchLookupColumnsRequest(requests=[request])


def found(response: BatchLookupColumnsResponse) -> list[str]:
    """Return the report numbers of the one answer."""
    from_items = [one.report_number for item in response.items for one in item.response.in_region]
    return sorted([*response.columns.report_number, *from_items])


@contextlib.contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """List the statements of a database while the block runs: on SQLite all, on PostgreSQL those of SQLAlchemy."""
    seen: list[str] = []

    def note(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        if hasattr(driver, "set_trace_callback"):
            driver.set_trace_callback(seen.append)

    def note_statement(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if connection.dialect.name != "sqlite":
            seen.append(statement)

    engines = {database.engine, database.reading_engine}
    for engine in engines:
        event.listen(engine, "engine_connect", note)
        event.listen(engine, "before_cursor_execute", note_statement)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "engine_connect", note)
            event.remove(engine, "before_cursor_execute", note_statement)


@pytest.mark.parametrize("claims", [False, True])
@pytest.mark.parametrize("scope", [LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE])
async def test_another_name_is_answered_as_an_unknown_person(laboratory: Laboratory, scope: int, claims: bool) -> None:
    """The look-up runs the same statements, reads the same rows and returns the same bytes as for an unknown person."""
    # Laboratories are cached, so their standing is no statement of a look-up.
    await register(laboratory)
    await laboratory.send([make_tube(0), make_tube(1)])
    handler = handler_of(laboratory)
    seen: dict[str, list[str]] = {}
    rows: dict[str, int] = {}
    answers: dict[str, BatchLookupColumnsResponse] = {}
    asked = {
        "warm": look_up(0, scope=scope, claims=claims),
        "right": look_up(0, scope=scope, claims=claims),
        "wrong": look_up(0, "李四", scope=scope, claims=claims),
        "stranger": look_up(STRANGER, scope=scope, claims=claims),
    }
    for which, request in asked.items():
        with counting_work(laboratory.database, opcodes=1) as work, statements_of(laboratory.database) as statements:
            answers[which] = await handler.look_up_columns(request)
        seen[which], rows[which] = list(statements), work.amount
    assert found(answers["right"]) == ["R0"]
    assert found(answers["wrong"]) == []
    assert answers["wrong"].SerializeToString(deterministic=True) == answers["stranger"].SerializeToString(
        deterministic=True
    )
    # On PostgreSQL the look-up bypasses SQLAlchemy, so that a statement of its own would be the only one to be seen.
    assert len(seen["wrong"]) > 0 or laboratory.dialect == "postgresql"
    assert seen["wrong"] == seen["right"]
    assert rows["wrong"] == rows["right"]
    assert shapes(seen["wrong"]) == shapes(seen["stranger"])


def shapes(statements: list[str]) -> list[str]:
    """Return statements without their values."""
    return [re.sub(r"x?'[^']*'|\b[0-9]+\b", "?", statement, flags=re.IGNORECASE) for statement in statements]


async def test_a_name_fits_that_of_any_result_under_any_document(laboratory: Laboratory) -> None:
    """A laboratory's variant of a name fits, and a result without a name fits every name."""
    other = make_tube(1)
    other.persons[0].document.name = "WANG, Fang"
    nameless = make_tube(2)
    nameless.persons[0].document.name = "张**"
    await laboratory.send([make_tube(0), other, nameless])
    documents = [LinkedDocument(subject_key(person), 1, "") for person in (0, 1)]
    link = DocumentLink(uuid7(), *documents, "seen both", NOW)
    await laboratory.database.write(link_documents, link)
    handler = handler_of(laboratory)
    for name in ("张伟", "张 伟", "wang fang", "ＷＡＮＧ ＦＡＮＧ", ""):
        assert found(await handler.look_up_columns(look_up(0, name))) == ["R0", "R1"], name
    assert found(await handler.look_up_columns(look_up(0, "王芳"))) == []
    assert found(await handler.look_up_columns(look_up(2, "李四"))) == ["R2"]
    # The look-ups of an app are about its own user.
    plain = BatchLookupLatestRequest(requests=look_up(0, "王芳").requests)
    assert (await handler.look_up_each(plain)).items[0].response.in_region


async def test_a_hash_of_before_fits_every_name(laboratory: Laboratory) -> None:
    """Hashes of 16 bytes have no version. They may begin with the byte that is the version now."""
    await laboratory.send([make_tube(0)])

    def age(connection: Connection) -> None:
        connection.execute(update(results).values(name_hash=b"\x01" + b"h" * 15))

    await laboratory.database.write(age)
    assert found(await handler_of(laboratory).look_up_columns(look_up(0, "李四"))) == ["R0"]


@pytest.mark.parametrize("scope", [LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE])
async def test_the_record_of_a_claimed_report_is_compared_too(laboratory: Laboratory, scope: int) -> None:
    """The claimed record may be the person's only record, and of an item that is not looked up."""
    await laboratory.send([make_tube(0, item=ANTIGEN)], items=("sars-cov-2-antigen",))
    handler = handler_of(laboratory)
    states = []
    for name in ("张伟", "李四"):
        answer = await handler.look_up_columns(look_up(0, name, scope=scope, claims=True))
        states.append(answer.items[0].response.claims[0].state)
    assert states == [CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM, CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON]


def test_who_has_no_results_fits_no_name() -> None:
    name = PEPPER.name_hash("张伟")
    names = PEPPER.name_hashes("张伟")
    assert names == (name,)
    assert fitting(names, []) == ((), ())
    results = [stored(1)._replace(name_hash=PEPPER.name_hash("李四")), stored(2)._replace(name_hash=name)]
    assert fitting(names, results, [b"k"]) == (results, [b"k"])
    assert fitting((), results, [b"k"]) == (results, [b"k"])
    assert fitting(PEPPER.name_hashes("王芳"), results, [b"k"]) == ((), ())


def keyed(people: Sequence[tuple[int, str]], pepper: Pepper = PEPPER) -> BatchLookupColumnsRequest:
    """Return look-ups by subject key, one for each named person, as Verification sends them."""
    look_ups = []
    for person, name in people:
        stated = make_document(person)
        document = canonical_document(stated.type, stated.number)
        look_ups.append(LookUp(stated, document, name, 0, LOOKUP_SCOPE_LOCAL))
    return batch_of(look_ups, pepper, marks_of(pepper)).request


async def test_a_look_up_by_key_is_answered_as_one_by_document(laboratory: Laboratory) -> None:
    """A process whose pepper rotates finds the same as one with the older version alone."""
    await register(laboratory)
    await laboratory.send([make_tube(0), make_tube(1)])
    handler = handler_of(laboratory)
    own = make_document(0).name
    for person, name in ((0, own), (0, "李四"), (0, ""), (STRANGER, own)):
        by_document = await handler.look_up_columns(look_up(person, name, scope=LOOKUP_SCOPE_LOCAL))
        rotating = Pepper(b"q" * 32, 2, other=PEPPER)
        for pepper in (PEPPER, rotating):
            assert await handler.look_up_columns(keyed([(person, name)], pepper)) == by_document
    both = await handler.look_up_columns(
        BatchLookupColumnsRequest(
            keyed=keyed([(1, ""), (0, own)]).keyed, requests=look_up(STRANGER, scope=LOOKUP_SCOPE_LOCAL).requests
        )
    )
    assert list(both.columns.report_number) == ["R1", "R0"]
    assert list(both.columns.in_region_counts) == [1, 1, 0]


async def test_keys_under_other_versions_are_refused(laboratory: Laboratory) -> None:
    """Results would not find what is stored under a version that the caller lacks."""
    handler = handler_of(laboratory)
    with pytest.raises(FailedPrecondition) as caught:
        await handler.look_up_columns(keyed([(0, "")], Pepper(b"q" * 32)))
    assert caught.value.reason == "PEPPER_MISMATCH"


async def test_a_faulty_batch_is_refused_with_the_name_of_its_field(laboratory: Laboratory) -> None:
    handler = handler_of(laboratory)
    short, uneven, crowded = keyed([(0, "")]), keyed([(0, "")]), keyed([(0, "")])
    short.keyed[0].subject_keys[0] = b"short"
    uneven.keyed[0].name_hashes.extend([b"", b""])
    crowded.keyed[0].subject_keys.extend([b"k" * 16] * 500)
    for request, field in (
        (short, "keyed[0].subject_keys"),
        (uneven, "keyed[0].name_hashes"),
        (crowded, "keyed"),
        (BatchLookupColumnsRequest(), "requests"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            await handler.look_up_columns(request)
        assert [fault.field for fault in caught.value.violations] == [field]
