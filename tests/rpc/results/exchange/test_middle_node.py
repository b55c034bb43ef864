"""A city below its province below the nation: what one of them commits reaches the others through the middle."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.exchange_service_pb2 import ListNodesRequest, RetireNodeRequest
from hutong.exchange.v1.node_pb2 import SET_ASIDE_REASON_SECOND_REGISTRATION, Node, SetAside
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, UnlinkDocumentsRequest
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.results.v1.lab_pb2 import LAB_STANDING_SUSPENDED
from hutong.results.v1.lab_service_pb2 import SetLabStandingRequest
from hutong.results.v1.lookup_pb2 import (
    LOOKUP_SCOPE_NATIONWIDE,
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    ClaimedReport,
)
from hutong.results.v1.missing_report_service_pb2 import ListMissingReportsRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest, LookupLatestResponse
from sqlalchemy import update

from services.domain.instant import HOUR, to_timestamp
from services.domain.region import NATION
from services.results.documents.tables import document_links
from services.results.exchange.tables import lab_homes, nodes, notification_positions, notifications
from services.results.labs.tables import lab_copies
from services.results.records.model import RECALLED_OUTCOME
from services.results.records.tables import report_keys, results
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from services.runtime.configuration.variables import BadSetting
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import failure_of
from tests.support.results.country import (
    HENAN,
    HENAN_USCC,
    JILIN,
    ZHENGZHOU,
    Country,
    Member,
    laboratory,
    open_country,
    open_member,
    read_rows,
)
from tests.support.results.factories import (
    LAB_NAME,
    NEGATIVE,
    OTHER_USCC,
    POSITIVE,
    make_document,
    make_tube,
    make_tubes,
)
from tests.support.waiting import TIMEOUT_SECONDS, until

LUOYANG = "410300"


@pytest.fixture
async def country(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Country]:
    async with open_country(tmp_path, database_url) as opened:
        yield opened


@pytest.fixture
async def small(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[Country]:
    """A country on SQLite."""
    async with open_country(tmp_path, sqlite_url) as opened:
        yield opened


async def join_city(country: Country, **variables: str) -> tuple[Member, Member]:
    """Start Henan below the nation, and Zhengzhou below Henan."""
    henan = await country.join(HENAN, **variables)
    return henan, await country.join(ZHENGZHOU, upstream=henan.address, **variables)


async def look_up(member: Member, number: int, token: str = "", **fields: object) -> LookupLatestResponse:
    request = LookupLatestRequest(
        document=make_document(number),
        scope=LOOKUP_SCOPE_NATIONWIDE,
        at_least_as_fresh=token,
        **fields,  # type: ignore[arg-type]
    )
    return await member.node.results.LookupLatest(request)


def numbers(response: LookupLatestResponse) -> set[str]:
    return {one.name.rpartition("/")[2] for one in [*response.in_region, *response.out_of_region]}


def states(response: LookupLatestResponse) -> dict[str, int]:
    return {one.node.removeprefix("nodes/"): one.state for one in response.sources}


async def lists_all(nation: Member) -> None:
    """Page through the nodes until all three are listed, the city with the province that relays it."""

    async def is_listed() -> bool:
        found: list[Node] = []
        token = ""
        while token or not found:
            page = await nation.exchange.ListNodes(ListNodesRequest(page_size=1, page_token=token))
            assert len(page.nodes) == 1
            found, token = [*found, *page.nodes], page.next_page_token
        return [
            (one.name.removeprefix("nodes/"), one.relaying_node, one.state)
            for one in found
            if one.HasField("contact_time") and one.HasField("as_of_time") and not one.backlog
        ] == [
            (JILIN, "", SOURCE_STATE_OK),
            (HENAN, "", SOURCE_STATE_OK),
            (ZHENGZHOU, f"nodes/{HENAN}", SOURCE_STATE_OK),
        ]

    await until(is_listed)


async def test_a_citys_changes_are_at_all_nodes_above(country: Country) -> None:
    """Results with their corrections, a standing, a link and its end; look-ups and tokens work in both directions."""
    henan, city = await join_city(country)
    jilin = await country.join(JILIN)
    await jilin.node.register()
    *_, of_jilin = await jilin.node.upload([make_tube(1)], "jilin")
    lab = await laboratory(city)
    *_, uploaded = await lab.upload(make_tubes(5))
    *_, of_henan = await (await laboratory(henan, HENAN_USCC)).upload([make_tube(2)], "henan")
    for member in (city, henan, country.nation, jilin):
        assert len(numbers(await look_up(member, 1, uploaded.consistency_token))) >= 1, member.region
        found = await look_up(member, 1, of_jilin.consistency_token)
        assert len([*found.in_region, *found.out_of_region]) == 2, member.region
        found = await look_up(member, 2, of_henan.consistency_token)
        assert len([*found.in_region, *found.out_of_region]) == 2, member.region
    # A node is a source of its own until the nodes above know up to when they have its results.
    await lists_all(country.nation)
    for member in (city, henan, country.nation, jilin):
        assert set(states(await look_up(member, 2)).values()) == {SOURCE_STATE_OK}
    assert set(states(await look_up(city, 1))) == {ZHENGZHOU, HENAN, NATION}
    await lab.admin.CorrectResult(
        CorrectResultRequest(name=f"labs/{OTHER_USCC}/results/R1", outcome=POSITIVE, reason="mixed up")
    )
    await city.node.links.LinkDocuments(
        LinkDocumentsRequest(document=make_document(1), linked_document=make_document(3), reason="seen both")
    )
    for member in (henan, country.nation):
        await until(lambda member=member: member.results(of=ZHENGZHOU) == city.results(of=ZHENGZHOU))
        await until(lambda member=member: member.rows(document_links, "source_node") == [(ZHENGZHOU,)])
    await lab.labs.SetLabStanding(
        SetLabStandingRequest(name=f"labs/{OTHER_USCC}", standing=LAB_STANDING_SUSPENDED, reason="forged papers")
    )
    await until(lambda: bool(jilin.rows(lab_copies, "uscc")))
    # Jilin's removal goes to the nation, to Henan and to Zhengzhou, and the end comes back.
    await jilin.node.imports.ImportResults(ImportResultsRequest(document=make_document(1)))
    await until(lambda: bool(jilin.rows(document_links, "link_id")))
    await jilin.node.links.UnlinkDocuments(
        UnlinkDocumentsRequest(document=make_document(1), linked_document=make_document(3), reason="two persons")
    )
    for member in (city, henan, country.nation):
        await until(lambda member=member: member.rows(document_links, "unlink_node") == [(JILIN,)])
        await until(lambda member=member: member.rows(document_links, "unlink_time")[0][0] is not None)


async def test_figures_and_the_retirement_of_a_county_are_shown_at_the_nation(small: Country) -> None:
    """What the city has about the county reaches the nation through the province, with the path.

    Once the county is retired, look-ups at the nation have no source that is away.
    """
    henan, city = await join_city(small)
    county = await small.join("410105", upstream=city.address)
    counted = update(nodes).where(nodes.c.node == "410105").values(conflict_count=3, second_registration_count=2)

    async def states_county() -> bool:
        with contextlib.closing(open_database(city.url)) as database:
            database.write_now(lambda connection: connection.execute(counted) and None)
        shown = {one.name: one for one in await small.nation.nodes()}.get("nodes/410105", Node())
        set_aside = [SetAside(reason=SET_ASIDE_REASON_SECOND_REGISTRATION, count=2)]
        return (shown.conflict_count, list(shown.set_aside), shown.HasField("clock_skew"), list(shown.path)) == (
            3, set_aside, True, [f"nodes/{HENAN}", f"nodes/{ZHENGZHOU}"],
        )  # fmt: skip

    await until(states_county)
    assert {one.name: list(one.path) for one in await henan.nodes()} == {
        f"nodes/{ZHENGZHOU}": [],
        "nodes/410105": [f"nodes/{ZHENGZHOU}"],
    }
    await county.node.server.stop(0)
    long_ago = update(nodes).where(nodes.c.node == "410105").values(contact_time=SystemClock().now() - HOUR)

    async def county_is(state: int) -> bool:
        return states(await look_up(small.nation, 1)).get("410105") == state

    async def is_silent() -> bool:
        with contextlib.closing(open_database(city.url)) as database:
            database.write_now(lambda connection: connection.execute(long_ago) and None)
        return await county_is(SOURCE_STATE_UNAVAILABLE)

    await until(is_silent)
    retire = RetireNodeRequest(name="nodes/410105", reason="flooded")
    retired = (await city.exchange.RetireNode(retire)).node

    async def is_retired_at_the_nation() -> bool:
        found = states(await look_up(small.nation, 1))
        (shown,) = [one for one in await small.nation.nodes() if one.name == retire.name]
        return (
            {node: state for node, state in found.items() if state != SOURCE_STATE_OK}
            == {"410105": SOURCE_STATE_RETIRED}
            and (shown.retire_reason, shown.retire_time) == ("flooded", retired.retire_time)
        )  # fmt: skip

    await until(is_retired_at_the_nation)


async def test_what_is_said_elsewhere_reaches_a_city(small: Country) -> None:
    """A positive of a person of whom the city has a negative, an import with what corrects it, and missing reports."""
    henan, city = await join_city(small)
    jilin = await small.join(JILIN)
    await jilin.node.register()
    lab = await laboratory(city)
    await lab.upload([make_tube(1), make_tube(7)])
    await jilin.node.upload([make_tube(1, outcome=POSITIVE), make_tube(2), make_tube(3)], "jilin")
    await until(lambda: len(city.results(of=JILIN)) == 1)
    # Luoyang joins after the positive came to Henan.
    luoyang = await small.join(LUOYANG, upstream=henan.address)
    await (await laboratory(luoyang, HENAN_USCC)).upload([make_tube(1)], "luoyang")
    await until(lambda: len(luoyang.results(of=JILIN)) == len(luoyang.results(of=ZHENGZHOU)) == 1)

    imported = await city.node.imports.ImportResults(ImportResultsRequest(document=make_document(2)))
    assert imported.imported_count == 1
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R2", outcome=POSITIVE, reason="mixed up")
    )
    await until(lambda: ("R2", 2) in city.rows(results, "report_number", "revision"))

    async def show(member: Member, uscc: str, number: str) -> None:
        claim = ClaimedReport(lab=f"labs/{uscc}", report_number=number)
        await look_up(member, 9, claimed_reports=[claim])

    async def has(member: Member, *expected: tuple[str, bool]) -> bool:
        request = ListMissingReportsRequest(include_closed=True)
        found = (await member.node.missing_reports.ListMissingReports(request)).missing_reports
        return sorted((one.report_number, one.HasField("close_time")) for one in found) == sorted(expected)

    await show(jilin, OTHER_USCC, "M11")
    await show(luoyang, OTHER_USCC, "M12")
    await show(city, OTHER_USCC, "M13")
    await show(city, LAB_NAME.removeprefix("labs/"), "M14")
    of_city = [("M11", False), ("M12", False), ("M13", False)]
    for member in (city, henan):
        await until(lambda member=member: has(member, *of_city))  # type: ignore[misc]
    await until(lambda: has(jilin, ("M14", False)))
    await until(lambda: has(small.nation, *of_city, ("M14", False)))


async def test_a_silent_nation_hides_only_itself(small: Country) -> None:
    """A city gets what its province has, in time, and the nation is named. With the province silent too, both are."""
    henan, city = await join_city(small)
    await (await laboratory(henan, HENAN_USCC)).upload([make_tube(2)], "henan")
    await until(lambda: bool(small.nation.results()))

    async def have_all_answered() -> bool:
        return set(states(await look_up(city, 2)).values()) == {SOURCE_STATE_OK}

    await until(have_all_answered)
    await small.nation.node.server.stop(0)
    found = await look_up(city, 2)
    assert numbers(found) == {"R2"}
    assert states(found) == {ZHENGZHOU: SOURCE_STATE_OK, HENAN: SOURCE_STATE_OK, NATION: SOURCE_STATE_UNAVAILABLE}
    refused = await failure_of(city.node.imports.ImportResults(ImportResultsRequest(document=make_document(2))))
    assert refused[1] == "UPSTREAM_UNAVAILABLE"
    await henan.node.server.stop(0)
    assert states(await look_up(city, 2)) == {
        ZHENGZHOU: SOURCE_STATE_OK,
        HENAN: SOURCE_STATE_UNAVAILABLE,
        NATION: SOURCE_STATE_UNAVAILABLE,
    }


async def test_a_city_gets_corrections_and_recalls_after_a_long_absence(small: Country, sqlite_url: MakeUrl) -> None:
    """The city's notifications are no longer kept.

    The city subscribes again, and gets the current state of its copies.
    """
    henan = await small.join(HENAN)
    jilin = await small.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload([make_tube(2), make_tube(3), make_tube(4)], "jilin")
    url = sqlite_url("results")

    def copies() -> list[tuple[object, ...]]:
        return sorted(read_rows(url, report_keys, "report_number", "revision", "outcome"))

    city = partial(open_member, small.directory / "city", url, ZHENGZHOU, upstream=henan.address)
    async with city() as member:
        for number in (2, 3):
            imports = member.node.imports
            await imports.ImportResults(ImportResultsRequest(document=make_document(number)))
        await until(lambda: len(copies()) == 2)
        await until(lambda: any(number for (number,) in member.rows(notification_positions, "processed")))
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R2", outcome=POSITIVE, reason="mixed up")
    )
    always = Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now()))
    await jilin.node.admin.RecallResults(
        RecallResultsRequest(lab=LAB_NAME, report_interval=always, outcomes=[NEGATIVE], reason="contaminated")
    )
    await until(lambda: len([row for row in henan.rows(results, "revision") if row[0] == 2]) == 2)
    with contextlib.closing(open_database(henan.url)) as database:
        database.write_now(lambda connection: connection.execute(notifications.delete()) and None)
    async with city():
        await until(lambda: [row[:2] for row in copies()] == [("R2", 2), ("R3", 2)])
        assert [row[2] for row in copies()] == [POSITIVE, RECALLED_OUTCOME]


async def test_a_province_is_founded_above_a_city(small: Country, sqlite_url: MakeUrl) -> None:
    """The nation refuses the city from then on, and takes its results from the province once the city is silent."""
    url = sqlite_url("results")
    directory = small.directory / "city"
    async with open_member(directory, url, ZHENGZHOU, upstream=small.nation.address) as city:
        await (await laboratory(city)).upload(make_tubes(2))
        await until(lambda: len(small.nation.results()) == 2)
    henan = await small.join(HENAN)
    await until(lambda: len(small.nation.rows(nodes, "node")) == 2)
    patient = ResultsTiming(upstream_check=TIMEOUT_SECONDS)
    with pytest.raises(BadSetting, match=f"nodes/{HENAN} is between nodes/{ZHENGZHOU} and nodes/000000"):
        async with open_member(directory, url, ZHENGZHOU, timing=patient, upstream=small.nation.address):
            pass
    async with open_member(directory, url, ZHENGZHOU, upstream=henan.address) as city:
        await city.node.of_lab(OTHER_USCC).upload([make_tube(5)], "later")
        await until(lambda: henan.results() == city.results())
        with contextlib.closing(open_database(small.nation.url)) as database:
            silent = update(nodes).where(nodes.c.node == ZHENGZHOU).values(contact_time=0)
            database.write_now(lambda connection: connection.execute(silent) and None)
        await until(lambda: small.nation.rows(nodes, "node") == [(HENAN,)])
        await until(lambda: small.nation.results() == city.results())
        assert small.nation.rows(lab_homes, "node") == [(HENAN,)]
