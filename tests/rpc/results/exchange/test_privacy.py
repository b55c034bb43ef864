"""No document number and no name crosses the exchange or is stored at the nation, checked byte by byte."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, UnlinkDocumentsRequest
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE, ClaimedReport
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from sqlalchemy import make_url

from services.domain.subject import mask_name, mask_number
from services.results.documents.tables import document_links
from services.results.missing_reports.tables import missing_reports
from tests.support.databases import MakeUrl
from tests.support.link import link_to
from tests.support.results.country import HENAN, JILIN, open_country
from tests.support.results.factories import LAB_NAME, POSITIVE, make_document, make_tube, make_tubes
from tests.support.waiting import until

PERSONS = 40


def secrets_of(person: int) -> list[bytes]:
    """Return number and name of a person, and their masks, in every encoding that may occur."""
    document = make_document(person)
    texts = [document.number, document.name, mask_number(document.number), mask_name(document.name)]
    return [text.encode(encoding) for text in texts for encoding in ("utf-8", "utf-16-le", "gb18030")]


def stored_bytes(url: str) -> bytes:
    """Return every row of every table of a database, as text and as raw bytes."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        with sqlite3.connect(path) as connection:
            dumped = "\n".join(connection.iterdump()).encode()
        return dumped + path.read_bytes() + Path(f"{path}-wal").read_bytes()
    with psycopg.connect(parsed.render_as_string(hide_password=False)) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        parts = []
        for (name,) in names:
            with connection.cursor().copy(f'COPY (SELECT * FROM "{name}") TO STDOUT') as copy:  # type: ignore[call-overload]
                parts += [bytes(chunk) for chunk in copy]
    return b"\n".join(parts)


async def test_nothing_that_names_a_person_leaves_its_province(tmp_path: Path, database_url: MakeUrl) -> None:
    """Uploads, corrections, links, nationwide look-ups with claims, and imports cross links that the test reads."""
    async with (
        open_country(tmp_path, database_url) as country,
        link_to(country.nation.address) as from_jilin,
        link_to(country.nation.address) as from_henan,
    ):
        jilin = await country.join(JILIN, upstream=from_jilin.address)
        henan = await country.join(HENAN, upstream=from_henan.address)
        await jilin.node.register()
        await jilin.node.upload([*make_tubes(PERSONS - 5), make_tube(PERSONS - 5, 5)])
        await jilin.node.admin.CorrectResult(
            CorrectResultRequest(
                name=f"{LAB_NAME}/results/R1",
                outcome=POSITIVE,
                reason=f"mixed up with {make_document(2).name} {make_document(2).number}",
            )
        )
        pair = {"document": make_document(3), "linked_document": make_document(4)}
        reason = f"seen both, {make_document(3).number}"
        await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**pair, reason=reason))
        await jilin.node.links.UnlinkDocuments(UnlinkDocumentsRequest(**pair, reason=reason))
        await until(lambda: len(country.nation.results()) == PERSONS + 1)
        await until(lambda: country.nation.rows(document_links, "unlink_time") not in ([], [(None,)]))
        for person in range(PERSONS):
            look_up = LookupLatestRequest(
                document=make_document(person),
                scope=LOOKUP_SCOPE_NATIONWIDE,
                claimed_reports=[ClaimedReport(lab=LAB_NAME, report_number=f"X{person}")],
            )
            assert (await henan.node.results.LookupLatest(look_up)).out_of_region
        # Typed into the wrong field: document numbers as the claimed report's number and as codes.
        wrong = [
            ClaimedReport(lab=LAB_NAME, report_number=make_document(7).number),
            ClaimedReport(report_number=make_document(7).number),
            ClaimedReport(lab_name=make_document(7).number),
        ]
        look_up = LookupLatestRequest(document=make_document(7), scope=LOOKUP_SCOPE_NATIONWIDE, claimed_reports=wrong)
        assert (await henan.node.results.LookupLatest(look_up)).out_of_region
        mistaken = [make_tube(PERSONS), make_tube(PERSONS + 1)]
        mistaken[0].tube_code = mistaken[1].persons[0].report_number = make_document(7).number
        (answer,) = await jilin.node.upload(mistaken, "mistaken")
        assert answer.rejected_count == 2
        await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(3)))
        await until(lambda: len(country.nation.rows(missing_reports, "report_number")) == PERSONS)
        crossed = bytes(from_jilin.carried + from_henan.carried)
        kept = stored_bytes(country.nation.url)
    assert b"R11" in crossed, "the bytes are not what crossed"
    assert b"R11" in kept, "the bytes are not what is kept"
    for person in range(PERSONS):
        for secret in secrets_of(person):
            if len(secret) > 3:
                assert secret not in crossed
                assert secret not in kept
