"""A report that is shown and has no record is missing at its laboratory's node and above, until it comes in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_FOUND,
    LOOKUP_SCOPE_NATIONWIDE,
    ClaimedReport,
)
from hutong.results.v1.missing_report_pb2 import MissingReport
from hutong.results.v1.missing_report_service_pb2 import AnswerMissingReportRequest, ListMissingReportsRequest
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, LookupLatestRequest

from services.domain.instant import HOUR, to_timestamp
from services.results.exchange.tables import lab_homes
from services.results.missing_reports.model import NOT_OURS, TO_FOLLOW
from services.results.missing_reports.tables import missing_reports
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.lists import read_pages
from tests.support.results.country import HENAN, JILIN, SHANDONG, Country, Member, open_country, open_member
from tests.support.results.factories import (
    CENTRAL_USCC,
    LAB_NAME,
    OTHER_USCC,
    lab_to_register,
    make_document,
    make_tubes,
)
from tests.support.waiting import until


def question(*numbers: str, lab: str = LAB_NAME, person: int = 0) -> LookupLatestRequest:
    """Look up the results of a holder that shows reports."""
    claims = [ClaimedReport(lab=lab, report_number=number) for number in numbers]
    return LookupLatestRequest(document=make_document(person), claimed_reports=claims)


async def show(member: Member, *numbers: str, lab: str = LAB_NAME) -> None:
    answer = await member.node.results.LookupLatest(question(*numbers, lab=lab))
    assert len(answer.next_steps) == len(numbers)


async def listed(member: Member, **narrowed: object) -> Sequence[MissingReport]:
    response = await member.node.missing_reports.ListMissingReports(ListMissingReportsRequest(**narrowed))  # type: ignore[arg-type]
    found: Sequence[MissingReport] = response.missing_reports
    return found


async def wait_for(member: Member, *numbers: str) -> None:
    """Wait until exactly these are open at a node."""

    async def there() -> bool:
        return sorted(each.report_number for each in await listed(member)) == sorted(numbers)

    await until(there)


async def test_shown_in_henan_it_is_listed_in_jilin_and_at_the_nation_until_it_comes_in(country: Country) -> None:
    jilin, henan, shandong = [await country.join(region) for region in (JILIN, HENAN, SHANDONG)]
    await jilin.node.register()
    await until(lambda: country.nation.rows(lab_homes, "node") == [(JILIN,)])
    before = SystemClock().now()
    await show(henan, "R0", "R1")
    await wait_for(jilin, "R0", "R1")
    registered = lab_to_register()
    for member in (jilin, country.nation):
        (first, _) = await listed(member)
        assert (first.lab, first.raising_node) == (LAB_NAME, "nodes/410000")
        assert (first.lab_display_name, first.lab_contact) == (registered.display_name, registered.contact)
        assert first.create_time.ToMicroseconds() >= before
    for other in (henan, shandong):
        assert list(await listed(other, include_closed=True)) == []
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await country.nation.node.missing_reports.AnswerMissingReport(
            AnswerMissingReportRequest(name=first.name, answer=NOT_OURS)
        )
    assert error_info(refused.value).reason == "CONFLICT"
    assert f"nodes/{JILIN}" in refused.value.details()
    await jilin.node.upload(make_tubes(1))
    for member in (jilin, country.nation):
        await wait_for(member, "R1")
    closed = [each for each in await listed(jilin, include_closed=True) if each.HasField("close_time")]
    assert [each.report_number for each in closed] == ["R0"]
    assert closed[0].close_time.ToMicroseconds() >= closed[0].create_time.ToMicroseconds()


async def test_listed_by_two_nodes_it_is_closed_at_both(country: Country) -> None:
    """The laboratory's code names neither province, and both have registered it."""
    jilin, henan, shandong = [await country.join(region) for region in (JILIN, HENAN, SHANDONG)]
    lab = f"labs/{CENTRAL_USCC}"
    for member in (jilin, henan):
        await member.node.of_lab(CENTRAL_USCC).register()
    await until(lambda: sorted(country.nation.rows(lab_homes, "node")) == [(JILIN,), (HENAN,)])
    await show(shandong, "R0", "R1", lab=lab)
    for member in (jilin, henan):
        await wait_for(member, "R0", "R1")
    await jilin.node.of_lab(CENTRAL_USCC).upload(make_tubes(1))
    for member in (jilin, henan):
        await wait_for(member, "R1")

    async def closings(member: Member) -> list[int]:
        return [one.close_time.ToMicroseconds() for one in await listed(member, include_closed=True)]

    assert await closings(henan) == await closings(jilin)
    # A raising node that registers the laboratory later does not list the closed one.
    await until(lambda: ("R0", None) not in shandong.rows(missing_reports, "report_number", "close_time"))
    await shandong.node.of_lab(CENTRAL_USCC).register()
    await wait_for(shandong, "R1")


async def test_what_its_laboratory_denies_is_denied_at_every_node_until_there_is_a_record(country: Country) -> None:
    """The report was shown in a city, and its laboratory is Jilin's. Shandong learns of the report by the answer."""
    jilin, henan, shandong = [await country.join(region) for region in (JILIN, HENAN, SHANDONG)]
    city = await country.join("410100", upstream=henan.address)
    await jilin.node.register()
    await until(lambda: country.nation.rows(lab_homes, "node") == [(JILIN,)])
    await show(city, "R0", "R1")
    await wait_for(jilin, "R0", "R1")
    name = f"{LAB_NAME}/missingReports/"
    answering = jilin.node.missing_reports.AnswerMissingReport
    in_an_hour = to_timestamp(SystemClock().now() + HOUR)
    wrong = {
        "expected_time": AnswerMissingReportRequest(name=f"{name}R0", answer=NOT_OURS, expected_time=in_an_hour),
        "answer": AnswerMissingReportRequest(name=f"{name}R0"),
        "name": AnswerMissingReportRequest(name=LAB_NAME, answer=NOT_OURS),
    }
    for field, request in wrong.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answering(request)
        assert error_info(refused.value).metadata["field"] == field
    to_follow = AnswerMissingReportRequest(name=f"{name}R1", answer=TO_FOLLOW, expected_time=in_an_hour)
    assert (await answering(to_follow)).missing_report.lab_answer.expected_time == in_an_hour
    denial = AnswerMissingReportRequest(name=f"{name}R0", answer=NOT_OURS, request_id=str(uuid.uuid4()))
    answered = (await answering(denial)).missing_report
    assert (await answering(denial)).missing_report == answered
    assert (answered.lab_answer.answer, answered.lab_answer.HasField("answer_time")) == (NOT_OURS, True)

    async def claimed(member: Member) -> list[int]:
        answer = await member.node.results.LookupLatest(question("R0", "R1"))
        assert [one.report_number for one in answer.next_steps] == ["R0", "R1"][-len(answer.next_steps) :]
        return [one.lab_answer.answer for one in answer.claims]

    # At the node where the answer was given it counts at once.
    assert await claimed(jilin) == [NOT_OURS, TO_FOLLOW]
    for member in (country.nation, shandong, henan, city):

        async def is_known(member: Member = member) -> bool:
            return await claimed(member) == [NOT_OURS, TO_FOLLOW]

        await until(is_known)
        listed_here = ["R0", "R1"] if member is country.nation else []
        assert sorted(one.report_number for one in await listed(member, include_closed=True)) == listed_here
    for member in (jilin, country.nation):
        await wait_for(member, "R1")
    # A node that asks the nation gets the answer there.
    await asyncio.to_thread(_forget_answers, city)
    assert await claimed(city) == [0, 0]
    nationwide = question("R0")
    nationwide.scope = LOOKUP_SCOPE_NATIONWIDE
    (claim,) = (await city.node.results.LookupLatest(nationwide)).claims
    assert claim.lab_answer.answer == NOT_OURS
    await jilin.node.upload(make_tubes(1))
    (claim, _) = (await jilin.node.results.LookupLatest(question("R0", "R1"))).claims
    assert (claim.state, claim.HasField("lab_answer")) == (CLAIMED_REPORT_MATCH_STATE_FOUND, False)


def _forget_answers(member: Member) -> None:
    database = open_database(member.url)
    database.write_now(lambda connection: connection.execute(missing_reports.delete()) and None)
    database.close()


async def test_what_another_province_holds_is_missing_nowhere(country: Country) -> None:
    """The one where it is shown does not know that; the nation does."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    await jilin.node.register()
    await jilin.node.upload(make_tubes(1))
    await until(lambda: len(country.nation.results()) == 1)
    await show(henan, "R0", "R7")
    await wait_for(jilin, "R7")
    assert country.nation.rows(missing_reports, "report_number") == [("R7",)]


async def test_one_of_an_unregistered_laboratory_is_listed_at_the_nation(country: Country) -> None:
    henan = await country.join(HENAN)
    await show(henan, "R0")
    await wait_for(country.nation, "R0")
    assert list(await listed(henan)) == []


async def test_what_was_shown_while_the_nation_was_unavailable_arrives_when_it_is_back(
    tmp_path: Path, sqlite_url: MakeUrl
) -> None:
    url = sqlite_url("results")
    async with open_member(tmp_path / "alone", url, HENAN, upstream="127.0.0.1:9") as henan:
        await show(henan, "R0")
        await until(lambda: henan.rows(missing_reports, "passed_on") == [(True,)])
    async with (
        open_country(tmp_path, sqlite_url) as country,
        open_member(tmp_path / "joined", url, HENAN, upstream=country.nation.address),
    ):
        await wait_for(country.nation, "R0")


async def test_lists_are_narrowed_and_paged(country: Country) -> None:
    other = f"labs/{OTHER_USCC}"
    await country.nation.node.register()
    await country.nation.node.labs.CreateLab(CreateLabRequest(lab=lab_to_register(OTHER_USCC)))
    await show(country.nation, *(f"R{number}" for number in range(7)))
    await show(country.nation, "R0", lab=other)
    await until(lambda: len(country.nation.rows(missing_reports, "lab")) == 8)
    assert [(each.lab, each.report_number) for each in await listed(country.nation, lab=other)] == [(other, "R0")]
    request = ListMissingReportsRequest(page_size=3)
    pages = await read_pages(country.nation.node.missing_reports.ListMissingReports, request)
    paged = [report for page in pages for report in page.missing_reports]
    assert paged == list(await listed(country.nation))
    assert len(paged) == 8
    request.lab, request.page_token = other, pages[0].next_page_token
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await country.nation.node.missing_reports.ListMissingReports(request)
    assert error_info(refused.value).reason == "INVALID_PAGE_TOKEN"


async def test_a_flood_of_claims_is_answered_and_stored_once(country: Country) -> None:
    """Look-ups do not wait for what is stored; what was stored is not stored again."""
    await country.nation.node.register()
    flood = [question(*(f"F{person}-{number}" for number in range(10)), person=person) for person in range(50)]
    response = await country.nation.node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=flood))
    assert all(len(item.response.next_steps) == 10 for item in response.items)
    await until(lambda: len(country.nation.rows(missing_reports, "lab")) == 500)
    (written, *_) = country.nation.rows(missing_reports, "report_number", "create_time")
    await show(country.nation, written[0])
    await show(country.nation, "R-last-1")
    await until(lambda: len(country.nation.rows(missing_reports, "lab")) == 501)
    assert written in country.nation.rows(missing_reports, "report_number", "create_time")
