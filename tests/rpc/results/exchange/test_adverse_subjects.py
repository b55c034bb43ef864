"""A province learns of positives of other nodes, of persons of whom it has results, and of what becomes of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from google.type.interval_pb2 import Interval
from hutong.results.v1 import upload_pb2
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.type.v1 import outcome_pb2

from services.domain.instant import HOUR, Span, to_timestamp
from services.results.exchange.tables import notifications, subscriptions
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.restored import Copy
from tests.support.results.country import HENAN, JILIN, Country, Member, open_country, open_member
from tests.support.results.factories import LAB_NAME, NEGATIVE, POSITIVE, make_document, make_tube, subject_key
from tests.support.waiting import until


async def join(country: Country, region: str) -> Member:
    """A province with the laboratory, which works in all of them."""
    member = await country.join(region)
    await member.node.register()
    return member


def tube(number: str, person: int, outcome: outcome_pb2.Outcome.ValueType, ago: Span) -> upload_pb2.Tube:
    """A tube of one person with a report number of its own."""
    made = make_tube(person, outcome=outcome, reported=SystemClock().now() - ago)
    made.persons[0].report_number = number
    return made


async def found(member: Member, person: int) -> list[str]:
    """Return the numbers of the reports that a look-up in the node's own store finds, with outcome and state."""
    answer = await member.node.results.LookupLatest(LookupLatestRequest(document=make_document(person)))
    results = [*answer.in_region, *answer.out_of_region]
    return sorted(f"{result.report_number} {result.outcome} {result.state}" for result in results)


async def finds(member: Member, person: int, *expected: str) -> None:
    async def same() -> bool:
        return await found(member, person) == sorted(expected)

    await until(same)


async def test_a_positive_elsewhere_reaches_a_province_with_results(country: Country) -> None:
    """The order does not matter, and a linked document counts too. Corrections, recalls and later results follow."""
    jilin, henan = await join(country, JILIN), await join(country, HENAN)
    link = LinkDocumentsRequest(document=make_document(3), linked_document=make_document(4), reason="seen both")
    await jilin.node.links.LinkDocuments(link)
    own = [tube(f"H{person}", person, NEGATIVE, 3 * HOUR) for person in (0, 4)]
    await henan.node.upload(own)
    positive = [tube(f"J{person}", person, POSITIVE, 2 * HOUR) for person in (0, 1, 2, 3)]
    # Jilin's link counts for document 4 too, because Jilin has a result of it.
    await jilin.node.upload([*positive, tube("J4", 4, NEGATIVE, 4 * HOUR)])
    await finds(henan, 0, "H0 2 1", "J0 3 1")
    await finds(henan, 3, "H4 2 1", "J3 3 1", "J4 2 1")
    await finds(henan, 4, "H4 2 1", "J3 3 1", "J4 2 1")
    await henan.node.upload([tube("H1", 1, NEGATIVE, HOUR)], "later")
    await finds(henan, 1, "H1 2 1", "J1 3 1")
    await finds(jilin, 1, "H1 2 1", "J1 3 1")
    assert await found(henan, 2) == []
    correction = CorrectResultRequest(name=f"{LAB_NAME}/results/J0", outcome=NEGATIVE, reason="mixed up")
    await jilin.node.admin.CorrectResult(correction)
    await finds(henan, 0, "H0 2 1", "J0 2 1")
    interval = Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now()))
    await jilin.node.admin.RecallResults(
        RecallResultsRequest(lab=LAB_NAME, report_interval=interval, outcomes=[POSITIVE], reason="contaminated")
    )
    await finds(henan, 1, "H1 2 1", "J1 3 3")
    await jilin.node.upload([tube("J11", 1, NEGATIVE, 0)], "clearing")
    await finds(henan, 1, "H1 2 1", "J1 3 3", "J11 2 1")
    # The keys to which the province would have to subscribe again.
    kept = {key for (key,) in henan.rows(subscriptions, "subject_key")}
    assert kept == {subject_key(person) for person in (0, 1, 3, 4)}


async def test_a_restored_province_is_told_again(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The nation has deleted the notifications that the province had processed before."""
    async with open_country(tmp_path, sqlite_url, ResultsTiming(notification_passed=0)) as country:
        jilin, url = await join(country, JILIN), sqlite_url("results")

        def henan() -> contextlib.AbstractAsyncContextManager[Member]:
            return open_member(tmp_path / "henan", url, HENAN, upstream=country.nation.address)

        async with henan() as member:
            await member.node.register()
            await member.node.upload([tube(f"H{person}", person, NEGATIVE, 3 * HOUR) for person in range(2)])
            await until(lambda: len(country.nation.results()) == 2)
        copy = Copy(url, tmp_path / "copy")
        async with henan() as member:
            for person in range(2):
                await jilin.node.upload([tube(f"J{person}", person, POSITIVE, HOUR)], f"u{person}")
                await finds(member, person, f"H{person} 2 1", f"J{person} 3 1")
        async with henan():
            await until(lambda: (HENAN, 1) not in country.nation.rows(notifications, "node", "number"))
        copy.restore()
        async with henan() as member:
            for person in range(2):
                await finds(member, person, f"H{person} 2 1", f"J{person} 3 1")
