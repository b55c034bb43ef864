"""No identity in clear: in no column of any row, no answer, no error and no line of the log, whatever was sent."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from hutong.results.v1 import upload_pb2
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, GetResultRequest, LookupLatestRequest
from hutong.type.v1 import identity_pb2
from sqlalchemy import Connection, inspect, text

from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import rich_status
from tests.support.results.factories import LAB_NAME, PENDING, make_document, make_tube
from tests.support.results.node import batch_of, results_node, start

HIDDEN_NAME = "司马相如隐名"
PASSPORT = "E1234567QX"
OTHER_NUMBER = "AB-99887766-Z"


def hostile_tubes() -> list[upload_pb2.Tube]:
    """Right persons, and identities in every place where they do not belong and are refused."""
    right = make_tube(0, 3)
    for person in right.persons:
        person.document.name = HIDDEN_NAME
    abroad = make_tube(10)
    abroad.persons[0].document.CopyFrom(
        identity_pb2.IdentityDocument(type=5, number=PASSPORT, issuing_country="FRA", name=HIDDEN_NAME)
    )
    other = make_tube(11)
    other.persons[0].document.CopyFrom(identity_pb2.IdentityDocument(type=7, number=OTHER_NUMBER, name=HIDDEN_NAME))
    number = make_document(0).number
    wrong_number = make_tube(20)
    wrong_number.persons[0].document.number = number[:-1] + "?"
    wrong_type = make_tube(21)
    wrong_type.persons[0].document.type = identity_pb2.DOCUMENT_TYPE_TAIWAN_TRAVEL_PERMIT
    as_report = make_tube(22)
    as_report.persons[0].report_number = f"{number} {HIDDEN_NAME}"
    as_code = make_tube(23, region=number[:6] + "X")
    as_code.tube_code = f"{HIDDEN_NAME}\n{number}"
    as_country = make_tube(24)
    as_country.persons[0].document.issuing_country = HIDDEN_NAME
    return [
        make_tube(0, 3, outcome=PENDING),
        right,
        abroad,
        other,
        wrong_number,
        wrong_type,
        as_report,
        as_code,
        as_country,
    ]


def identities() -> list[str]:
    numbers = [make_document(person).number for person in (0, 1, 2, 20, 21, 22, 23, 24)]
    numbers += [number[:-1] for number in numbers]
    return [*numbers, HIDDEN_NAME, PASSPORT, OTHER_NUMBER, OTHER_NUMBER.replace("-", "")]


def everything_in(connection: Connection) -> list[str]:
    """Every column of every row of every table, as text and, where it is bytes, as what bytes may say."""
    found: list[str] = []
    for table in inspect(connection).get_table_names():
        for row in connection.execute(text(f'SELECT * FROM "{table}"')):
            for value in row:
                found.append(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
    return found


async def test_no_identity_in_tables_answers_errors_or_log(tmp_path: Path, database_url: MakeUrl) -> None:
    url = database_url("results")
    said: list[Any] = []
    log: list[str] = []

    def listen(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        log.append(repr(sorted(event.items(), key=str)))
        raise structlog.DropEvent

    async def hear(call: Any) -> None:
        try:
            said.append(await call)
        except grpc.aio.AioRpcError as error:
            said.extend((error.details(), rich_status(error)))

    structlog.configure(processors=[structlog.processors.format_exc_info, listen])
    try:
        async with results_node(tmp_path, url) as node:
            await node.register()
            tubes = hostile_tubes()
            said.extend(await node.upload(tubes, batch=2))
            said.extend(await node.upload(tubes, "again"))
            said.extend(await node.upload(tubes, "pretended", validate_only=True))
            _, error = await node.send([start("gap"), batch_of(tubes, 5)])
            assert error is not None
            said.extend((error.details(), rich_status(error)))
            wrong = identity_pb2.IdentityDocument(type=1, number=make_document(0).number[:-1] + "?", name=HIDDEN_NAME)
            shown = LookupLatestRequest(document=make_document(0))
            faulty = LookupLatestRequest(document=wrong)
            await hear(node.results.LookupLatest(shown))
            await hear(node.results.LookupLatest(faulty))
            await hear(node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=[shown, faulty])))
            await hear(node.results.GetResult(GetResultRequest(name=f"{LAB_NAME}/results/R0")))
    finally:
        structlog.reset_defaults()
    with contextlib.closing(open_database(url)) as database:
        stored = await asyncio.to_thread(database.read_now, everything_in)
    assert sum(f"{HIDDEN_NAME[0]}*" in value for value in stored) >= 5, "the masks are there, so rows were seen"
    assert log
    assert said
    everything = "\n".join([*stored, *log, *(str(each) for each in said)])
    assert [identity for identity in identities() if identity in everything] == []


@pytest.mark.parametrize("failing", ["report_keys", "results"])
async def test_no_identity_in_what_is_logged_when_the_database_fails(
    tmp_path: Path, database_url: MakeUrl, failing: str
) -> None:
    """A table is gone: the driver's error would quote the statement and its rows. Nothing of a row is in the log."""
    url = database_url("results")
    log: list[str] = []

    def listen(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        log.append(repr(event))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, listen])
    try:
        async with results_node(tmp_path, url) as node:
            await node.register()
            with contextlib.closing(open_database(url)) as database:
                await asyncio.to_thread(
                    database.write_now, lambda connection: connection.execute(text(f"DROP TABLE {failing}"))
                )
            tubes = hostile_tubes()[:4]
            _, error = await node.send([start(), batch_of(tubes)])
            assert error is not None
            assert error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
    finally:
        structlog.reset_defaults()
    everything = "\n".join([*log, error.details() or "", str(rich_status(error))])
    assert failing in everything, "the operator is told the cause"
    assert [each for each in [*identities(), f"{HIDDEN_NAME[0]}*", "R0"] if each in everything] == []
