"""ImportResults: results of other provinces are copied into this province's store and kept up to date."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.type.interval_pb2 import Interval
from hutong.results.v1 import lab_pb2, lookup_pb2, result_pb2
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, UnlinkDocumentsRequest
from hutong.results.v1.import_service_pb2 import ImportResultsRequest, ImportResultsResponse
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, SetLabStandingRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest, WatchResultsRequest

from services.domain.instant import DAY, to_timestamp
from services.results.documents.tables import document_links
from services.results.exchange.tables import lab_homes, notification_positions, subscriptions
from services.results.labs.tables import lab_copies
from services.results.records.tables import report_keys, results
from services.results.timeliness.tables import delays
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.link import link_to
from tests.support.results.country import HENAN, JILIN, SHANDONG, Country, Member, open_country, open_member
from tests.support.results.factories import (
    LAB_NAME,
    OTHER_USCC,
    PENDING,
    POSITIVE,
    REPORTED,
    USCC,
    lab_to_register,
    make_document,
    make_tube,
    make_tubes,
)
from tests.support.waiting import until


@pytest.fixture
async def country(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Country]:
    async with open_country(tmp_path, database_url) as opened:
        yield opened


@pytest.fixture
async def sqlite_country(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[Country]:
    """A country on SQLite, for tests in which the database makes no difference."""
    async with open_country(tmp_path, sqlite_url) as opened:
        yield opened


async def report_in_jilin(country: Country, persons: int = 1) -> Member:
    """Upload as a laboratory of Jilin, and wait until the nation has the reports."""
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload(make_tubes(persons))
    await until(lambda: len(country.nation.results()) == persons)
    return jilin


async def import_person(member: Member, person: int = 0, request_id: str = "") -> ImportResultsResponse:
    request = ImportResultsRequest(document=make_document(person), request_id=request_id)
    response: ImportResultsResponse = await member.node.imports.ImportResults(request)
    return response


async def local(member: Member, person: int = 0) -> list[result_pb2.TestResult]:
    """Return what a look-up in this node's own store finds."""
    answer = await member.node.results.LookupLatest(LookupLatestRequest(document=make_document(person)))
    return [*answer.in_region, *answer.out_of_region]


async def test_imported_results_are_in_the_local_store_with_where_they_are_from(country: Country) -> None:
    jilin, henan = await report_in_jilin(country), await country.join(HENAN)
    await until(lambda: len(henan.rows(lab_copies, "uscc")) == 1)
    assert await local(henan) == []
    answer = await import_person(henan)
    (original,) = await local(jilin)
    (imported,) = answer.test_results
    assert answer.imported_count == 1
    assert imported == (await local(henan))[0]
    assert (imported.source_node, imported.revision) == ("nodes/220000", 1)
    assert imported.upload_time == original.upload_time
    assert imported.masked_number == original.masked_number
    assert imported.masked_name == ""
    assert henan.results() == jilin.results() == country.nation.results()
    assert henan.rows(delays, "lab") == []


async def test_importing_again_brings_nothing_and_the_same_request_the_same_answer(country: Country) -> None:
    await report_in_jilin(country)
    henan = await country.join(HENAN)
    await until(lambda: len(henan.rows(lab_copies, "uscc")) == 1)
    request_id = str(uuid.uuid4())
    first = await import_person(henan, request_id=request_id)
    assert first.imported_count == 1
    assert await import_person(henan, request_id=request_id) == first
    again = await import_person(henan, request_id=str(uuid.uuid4()))
    assert (again.imported_count, list(again.test_results)) == (0, list(first.test_results))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await import_person(henan, person=1, request_id=request_id)
    assert error_info(refused.value).reason == "REQUEST_ID_REUSED"


async def test_corrections_recalls_and_new_reports_reach_the_copy(country: Country) -> None:
    """No other subject is imported. The copy is not sent to the nation, and watchers of results here receive it."""
    jilin, henan = await report_in_jilin(country, persons=3), await country.join(HENAN)
    await import_person(henan)
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
    )
    await until(lambda: henan.rows(report_keys, "report_number", "revision") == [("R0", 2)])
    assert [result.outcome for result in await local(henan)] == [POSITIVE]
    later = make_tube(0)
    later.persons[0].report_number = "R100"
    await jilin.node.upload([later, make_tube(50)], "second")
    await until(lambda: ("R100",) in henan.rows(report_keys, "report_number"))
    # Later results get the mask of the document that was given with the first import.
    assert len(set(henan.rows(results, "masked_number"))) == 1
    assert henan.rows(results, "masked_number")[0] != ("",)
    await jilin.node.admin.RecallResults(
        RecallResultsRequest(
            lab=LAB_NAME,
            report_interval=Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now())),
            reason="contaminated",
        )
    )

    async def recalled() -> bool:
        return [result.state for result in await local(henan)] == [result_pb2.RESULT_STATE_RECALLED] * 2

    await until(recalled)
    assert henan.results() == [row for row in jilin.results() if row[1] in ("R0", "R100")]
    told = []
    async for message in henan.node.results.WatchResults(WatchResultsRequest()):
        if message.HasField("checkpoint"):
            break
        told.append((message.change.report_number, message.change.revision))
    assert sorted(told) == [("R0", 1), ("R0", 2), ("R0", 3), ("R100", 1), ("R100", 2)]
    nodes = {node.name: node for node in await country.nation.nodes()}
    assert nodes["nodes/410000"].conflict_count == 0


async def test_the_standing_of_a_laboratory_with_copies_follows(sqlite_country: Country) -> None:
    """The home's word and the nation's count for copies, also at a node that joins later."""
    jilin, henan = await report_in_jilin(sqlite_country), await sqlite_country.join(HENAN)
    await import_person(henan)

    async def standings(member: Member) -> list[int]:
        return [result.lab_standing for result in await local(member)]

    async def alike(member: Member, standing: int) -> bool:
        return await standings(jilin) == await standings(member) == [standing]

    async def set_standing(member: Member, standing: lab_pb2.LabStanding.ValueType) -> None:
        since = to_timestamp(REPORTED - DAY)
        await member.node.labs.SetLabStanding(
            SetLabStandingRequest(name=LAB_NAME, standing=standing, effective_time=since, reason="false reports")
        )

    await until(lambda: alike(henan, lab_pb2.LAB_STANDING_AUTHORIZED))
    await set_standing(jilin, lab_pb2.LAB_STANDING_SUSPENDED)
    await until(lambda: alike(henan, lab_pb2.LAB_STANDING_SUSPENDED))
    await set_standing(sqlite_country.nation, lab_pb2.LAB_STANDING_REVOKED)
    await until(lambda: alike(henan, lab_pb2.LAB_STANDING_REVOKED))
    # The laboratory is at home in Jilin, so what another node registers does not count there either.
    shandong = await sqlite_country.join(SHANDONG)
    await shandong.node.register()
    await import_person(shandong)
    await until(lambda: alike(shandong, lab_pb2.LAB_STANDING_REVOKED))


async def test_a_copy_is_corrected_and_recalled_by_its_own_node_alone(country: Country) -> None:
    """The copy cannot be corrected where it was imported or at the nation.

    The node that received the report would not know of such a correction.
    """
    jilin, henan = await report_in_jilin(country), await country.join(HENAN)
    await henan.node.of_lab(USCC).register()
    await import_person(henan)
    correction = CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
    recall = RecallResultsRequest(
        lab=LAB_NAME,
        report_interval=Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now())),
        reason="contaminated",
    )
    for member in (henan, country.nation):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await member.node.admin.CorrectResult(correction)
        info = error_info(refused.value)
        assert (info.reason, info.metadata["node"]) == ("NOT_THE_ORIGIN", "nodes/220000")
        assert (await member.node.admin.RecallResults(recall)).recalled_count == 0
    assert (await jilin.node.admin.RecallResults(recall)).recalled_count == 1


async def test_the_result_of_a_sampling_record_goes_to_the_node_that_received_the_record(country: Country) -> None:
    """A node with a copy of the record rejects it, in a dry run and a replay too. No report gets two source nodes."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    await jilin.node.register()
    await henan.node.of_lab(USCC).register()
    await jilin.node.upload([make_tube(0, outcome=PENDING)])
    await until(lambda: len(country.nation.results()) == 1)
    await import_person(henan)
    # Twice in one upload: the second is not taken for a duplicate of the first.
    tubes = [make_tube(0), make_tube(0), make_tube(1)]
    for validate_only, accepted in ((True, 1), (False, 1), (False, 0)):
        (answer,) = await henan.node.of_lab(USCC).upload(tubes, validate_only=validate_only)
        assert (answer.accepted_count, answer.rejected_count) == (accepted, 2)
        faults = [rejection.violations[0] for rejection in answer.rejections]
        assert [fault.reason for fault in faults] == ["NOT_THE_ORIGIN"] * 2
        assert "nodes/220000" in faults[0].description
    await jilin.node.upload([make_tube(0)], "result")
    await until(lambda: len(henan.results(of=JILIN)) == 2)
    assert [node.conflict_count for node in await country.nation.nodes()] == [0, 0]


async def test_changes_made_at_the_nation_itself_reach_the_copy(country: Country) -> None:
    henan = await country.join(HENAN)
    await country.nation.node.register()
    await country.nation.node.upload(make_tubes(2))
    await import_person(henan)
    await country.nation.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
    )
    await until(lambda: henan.rows(report_keys, "report_number", "revision") == [("R0", 2)])
    later = make_tube(0)
    later.persons[0].report_number = "R100"
    await country.nation.node.upload([later], "second")
    await until(lambda: len(henan.rows(report_keys, "lab")) == 2)
    await country.nation.node.admin.RecallResults(
        RecallResultsRequest(
            lab=LAB_NAME,
            report_interval=Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now())),
            reason="contaminated",
        )
    )
    await until(lambda: henan.results() == [row for row in country.nation.results() if row[1] != "R1"])


async def test_a_subject_without_results_is_subscribed(sqlite_country: Country) -> None:
    henan, jilin = await sqlite_country.join(HENAN), await sqlite_country.join(JILIN)
    answer = await import_person(henan)
    assert (answer.imported_count, list(answer.test_results)) == (0, [])
    await jilin.node.register()
    await jilin.node.upload(make_tubes(2))
    await until(lambda: henan.rows(report_keys, "report_number") == [("R0",)])


async def numbers(member: Member, person: int = 0) -> list[str]:
    """Return the reports that a look-up in this node's own store finds."""
    return sorted(result.report_number for result in await local(member, person))


async def test_results_of_tied_documents_come_along_without_a_mask(country: Country) -> None:
    """The numbers of the linked documents were not given here.

    When the link ends, the results are of two subjects again.
    """
    jilin, henan = await report_in_jilin(country, persons=3), await country.join(HENAN)
    tie = {"document": make_document(0), "linked_document": make_document(1), "reason": "seen both"}
    await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**tie))
    await until(lambda: len(country.nation.rows(document_links, "link_id")) == 1)
    answer = await import_person(henan)
    masks = {result.report_number: result.masked_number for result in answer.test_results}
    assert answer.imported_count == 2
    assert masks["R0"]
    assert not masks["R1"]
    assert await numbers(henan, 0) == await numbers(henan, 1) == ["R0", "R1"]
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R1", outcome=POSITIVE, reason="mixed up")
    )
    await until(lambda: ("R1", 2) in henan.rows(report_keys, "report_number", "revision"))
    await jilin.node.links.UnlinkDocuments(UnlinkDocumentsRequest(**tie))

    async def apart() -> bool:
        return (await numbers(henan, 0), await numbers(henan, 1)) == (["R0"], ["R1"])

    await until(apart)


async def test_what_is_tied_to_a_followed_person_later_comes_along_too(sqlite_country: Country) -> None:
    """The results of the linked document are imported, and this node subscribes to it."""
    jilin, henan = await report_in_jilin(sqlite_country, persons=3), await sqlite_country.join(HENAN)
    await import_person(henan)
    tie = {"document": make_document(2), "linked_document": make_document(0), "reason": "seen both"}
    await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**tie))

    async def together() -> bool:
        return await numbers(henan, 0) == await numbers(henan, 2) == ["R0", "R2"]

    await until(together)
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R2", outcome=POSITIVE, reason="mixed up")
    )
    await until(lambda: ("R2", 2) in henan.rows(report_keys, "report_number", "revision"))


async def test_a_report_uploaded_here_after_its_copy_is_a_duplicate(sqlite_country: Country) -> None:
    await report_in_jilin(sqlite_country)
    henan = await sqlite_country.join(HENAN)
    in_henan = henan.node.of_lab(USCC)
    await in_henan.register()
    await import_person(henan)
    (answer,) = (await in_henan.upload(make_tubes(1)))[-1:]
    assert (answer.duplicate_count, answer.accepted_count) == (1, 0)


async def test_changes_made_while_the_province_is_disconnected_arrive_when_it_is_back(
    tmp_path: Path, sqlite_country: Country, sqlite_url: MakeUrl
) -> None:
    jilin = await report_in_jilin(sqlite_country)
    url = sqlite_url("results")
    async with open_member(tmp_path / "before", url, HENAN, upstream=sqlite_country.nation.address) as henan:
        await import_person(henan)
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
    )
    async with open_member(tmp_path / "after", url, HENAN, upstream=sqlite_country.nation.address) as henan:
        await until(lambda: henan.rows(report_keys, "revision") == [(2,)])


async def test_a_nation_that_was_restored_is_read_anew(tmp_path: Path, database_url: MakeUrl) -> None:
    """The nation has lost its subscriptions, and its numbers begin again.

    The province does not wait for the old numbers.
    """
    urls = {name: database_url("results") for name in ("old", "new", "jilin", "henan")}
    async with contextlib.AsyncExitStack() as stack:
        nation, jilin = await stack.enter_async_context(nation_with_jilin(tmp_path / "old", urls["old"], urls["jilin"]))
        henan = await stack.enter_async_context(
            open_member(tmp_path / "henan-before", urls["henan"], HENAN, upstream=nation.address)
        )
        await jilin.node.register()
        await jilin.node.upload(make_tubes(1))
        await until(lambda: len(nation.results()) == 1)
        await import_person(henan)
        for outcome in (POSITIVE, 2):
            await jilin.node.admin.CorrectResult(
                CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=outcome, reason="mixed up")
            )
        await until(lambda: henan.rows(report_keys, "revision") == [(3,)])
        assert henan.rows(notification_positions, "processed") != [(0,)]
    async with contextlib.AsyncExitStack() as stack:
        nation, jilin = await stack.enter_async_context(nation_with_jilin(tmp_path / "new", urls["new"], urls["jilin"]))
        await jilin.node.admin.CorrectResult(
            CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="after all")
        )
        await until(lambda: len(nation.results()) == 4)
        henan = await stack.enter_async_context(
            open_member(tmp_path / "henan-after", urls["henan"], HENAN, upstream=nation.address)
        )
        await until(lambda: henan.rows(report_keys, "revision") == [(4,)])
        await until(lambda: (HENAN,) in nation.rows(subscriptions, "node"))
        assert len(await local(henan)) == 1


@contextlib.asynccontextmanager
async def nation_with_jilin(directory: Path, url: str, jilin_url: str) -> AsyncIterator[tuple[Member, Member]]:
    await asyncio.to_thread(directory.mkdir)
    async with (
        open_member(directory / "nation", url, "000000") as nation,
        open_member(directory / "jilin", jilin_url, JILIN, upstream=nation.address) as jilin,
    ):
        yield nation, jilin


async def test_without_a_nation_there_is_nothing_to_ask(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    async with open_member(tmp_path / "alone", sqlite_url("results"), HENAN) as alone:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await import_person(alone)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(refused.value).reason == "NO_UPSTREAM"


async def test_an_import_fails_as_repeatable_while_the_nation_is_unavailable(
    tmp_path: Path, sqlite_url: MakeUrl
) -> None:
    async with open_member(tmp_path / "cut", sqlite_url("results"), HENAN, upstream="127.0.0.1:9") as cut:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await import_person(cut)
        assert cut.rows(subscriptions, "node") == []
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error_info(refused.value).reason == "UPSTREAM_UNAVAILABLE"


async def test_the_nation_has_all_there_is_to_import(sqlite_country: Country) -> None:
    await report_in_jilin(sqlite_country)
    answer = await import_person(sqlite_country.nation)
    assert (answer.imported_count, [result.report_number for result in answer.test_results]) == (0, ["R0"])


async def test_a_link_that_carries_nothing_more_is_given_up(sqlite_country: Country) -> None:
    """The connections are dead, and neither side is told. Changes made meanwhile cross both ways on new connections."""
    sqlite_country.timing = ResultsTiming(listener_silence=4.0, sender_answer=2.0, subscribe=0.5)
    jilin = await report_in_jilin(sqlite_country)
    async with link_to(sqlite_country.nation.address) as link:
        henan = await sqlite_country.join(HENAN, upstream=link.address)

        async def imported(person: int) -> bool:
            try:
                await import_person(henan, person=person)
            except grpc.aio.AioRpcError as error:
                assert error_info(error).reason == "UPSTREAM_UNAVAILABLE"  # noqa: PT017
                return False
            return True

        # On a busy machine the nation may be late over the working link too.
        await until(partial(imported, 0))
        await henan.node.labs.CreateLab(CreateLabRequest(lab=lab_to_register(OTHER_USCC)))
        await until(lambda: (HENAN,) in sqlite_country.nation.rows(lab_homes, "node"))
        link.strand()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await import_person(henan, person=1)
        assert error_info(refused.value).reason == "UPSTREAM_UNAVAILABLE"
        await until(partial(imported, 1))
        await jilin.node.admin.CorrectResult(
            CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
        )
        await until(lambda: henan.rows(report_keys, "revision") == [(2,)])
        await henan.node.register()
        await henan.node.upload(make_tubes(1, 70))
        await until(lambda: len(sqlite_country.nation.results(of=HENAN)) == 1)
        nationwide = LookupLatestRequest(document=make_document(0), scope=lookup_pb2.LOOKUP_SCOPE_NATIONWIDE)

        async def answered() -> bool:
            answer = await henan.node.results.LookupLatest(nationwide)
            return all(source.state == lookup_pb2.SOURCE_STATE_OK for source in answer.sources)

        await until(answered)
