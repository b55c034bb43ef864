"""Nationwide look-ups at a province: what is here and what the nation knows, as one, with the state of each source."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest
from hutong.results.v1.lab_pb2 import LAB_STANDING_SUSPENDED
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, SetLabStandingRequest
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_FOUND,
    CLAIMED_REPORT_MATCH_STATE_NOT_COMPARABLE,
    CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    LOOKUP_SCOPE_LOCAL,
    LOOKUP_SCOPE_NATIONWIDE,
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    SOURCE_STATE_UNAVAILABLE,
    ClaimedReport,
)
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, LookupLatestRequest, LookupLatestResponse

from services.domain.instant import DAY, MINUTE, SECOND, to_timestamp
from services.results.documents.tables import document_links
from services.results.exchange.downstream.nodes import MAX_SILENCE
from services.results.exchange.tables import nodes, replicated_lives
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.clocks import ClockAhead
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.link import link_to
from tests.support.results.country import HENAN, JILIN, Country, Member, open_member
from tests.support.results.factories import (
    LAB_NAME,
    OTHER_USCC,
    POSITIVE,
    REPORTED,
    lab_to_register,
    make_document,
    make_tube,
    make_tubes,
)
from tests.support.waiting import TIMEOUT_SECONDS, until


@pytest.fixture
async def jilin(country: Country) -> Member:
    member = await country.join(JILIN)
    await member.node.register()
    return member


@pytest.fixture
async def henan(country: Country) -> Member:
    return await country.join(HENAN)


async def look_up(
    member: Member, person: int, *, seconds: float = TIMEOUT_SECONDS, **fields: object
) -> LookupLatestResponse:
    request = LookupLatestRequest(document=make_document(person), **({"scope": LOOKUP_SCOPE_NATIONWIDE} | fields))  # type: ignore[arg-type]
    return await member.node.results.LookupLatest(request, timeout=seconds)


def states(response: LookupLatestResponse) -> dict[str, int]:
    return {source.node: source.state for source in response.sources}


async def arrived(country: Country, count: int) -> None:
    await until(lambda: len(country.nation.results()) == count)


async def test_a_result_of_jilin_is_found_in_henan_with_the_document_masked(
    country: Country, jilin: Member, henan: Member
) -> None:
    await jilin.node.upload(make_tubes(3))
    await arrived(country, 3)
    expected = {f"nodes/{HENAN}": SOURCE_STATE_OK, "nodes/000000": SOURCE_STATE_OK}

    async def is_complete() -> bool:
        return states(await look_up(henan, 1)) == expected

    # Jilin is a source too until the nation knows up to when it has Jilin's results.
    await until(is_complete)
    found = await look_up(henan, 1)
    (result,) = found.out_of_region
    assert (result.report_number, result.source_node, result.masked_name) == ("R1", f"nodes/{JILIN}", "")
    assert result.masked_number.startswith("41****")
    assert result.HasField("national_receive_time")
    local = await look_up(henan, 1, scope=LOOKUP_SCOPE_LOCAL)
    assert (len(local.out_of_region), states(local)) == (0, {f"nodes/{HENAN}": SOURCE_STATE_OK})


async def test_both_sides_are_merged_and_of_one_report_the_newer_revision_counts(
    country: Country, jilin: Member, henan: Member
) -> None:
    await henan.node.labs.CreateLab(CreateLabRequest(lab=lab_to_register(OTHER_USCC)))
    await jilin.node.upload([make_tube(0, region="410105")])
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
    )
    await arrived(country, 2)
    found = await look_up(henan, 0)
    assert [(one.revision, one.outcome) for one in found.in_region] == [(2, POSITIVE)]
    # The same at its own node, which knows it twice.
    there = await look_up(jilin, 0)
    assert [(one.revision, one.masked_name != "") for one in there.out_of_region] == [(2, True)]


async def test_a_laboratory_suspended_at_home_is_suspended_everywhere(
    country: Country, jilin: Member, henan: Member
) -> None:
    await jilin.node.upload(make_tubes(1))
    await jilin.node.labs.SetLabStanding(
        SetLabStandingRequest(
            name=LAB_NAME, standing=LAB_STANDING_SUSPENDED, effective_time=to_timestamp(MINUTE), reason="false reports"
        )
    )

    async def heard() -> bool:
        found = await look_up(henan, 0)
        return [one.lab_standing for one in found.out_of_region] == [LAB_STANDING_SUSPENDED]

    await until(heard)


async def test_documents_tied_in_another_province_are_one_person_here(
    country: Country, jilin: Member, henan: Member
) -> None:
    """Jilin links its own document with one that Henan tested. Henan's document alone finds nothing of Jilin's."""
    await henan.node.register()
    await henan.node.upload([make_tube(5)])
    await jilin.node.upload([make_tube(6)])
    await jilin.node.links.LinkDocuments(
        LinkDocumentsRequest(document=make_document(5), linked_document=make_document(6), reason="seen both")
    )
    await until(lambda: len(country.nation.rows(document_links, "link_id")) == 1)
    await arrived(country, 2)
    assert {one.report_number for one in (await look_up(henan, 6)).out_of_region} == {"R5", "R6"}
    assert [one.report_number for one in (await look_up(henan, 5)).out_of_region] == ["R5"]
    assert not (await look_up(henan, 6, scope=LOOKUP_SCOPE_LOCAL)).out_of_region


async def test_documents_tied_here_alone_are_asked_about_at_the_nation(
    country: Country, jilin: Member, henan: Member
) -> None:
    """A tie that is still on its way to the nation: the results of both documents are found, there as here."""
    await jilin.node.upload([make_tube(5), make_tube(6)])
    await arrived(country, 2)
    await henan.node.links.LinkDocuments(
        LinkDocumentsRequest(document=make_document(5), linked_document=make_document(6), reason="seen both")
    )
    await until(lambda: len(country.nation.rows(document_links, "link_id")) == 1)
    database = open_database(country.nation.url)
    database.write_now(lambda connection: connection.execute(document_links.delete()))
    database.close()
    found = await look_up(henan, 6, claimed_reports=[ClaimedReport(lab=LAB_NAME, report_number="R5")])
    assert {one.report_number for one in found.out_of_region} == {"R5", "R6"}
    assert [claim.state for claim in found.claims] == [CLAIMED_REPORT_MATCH_STATE_FOUND]


async def test_claims_are_answered_nationwide(country: Country, jilin: Member, henan: Member) -> None:
    old = make_tube(0, reported=REPORTED - DAY)
    old.persons[0].report_number = "OLD"
    await jilin.node.upload([*make_tubes(2), old])
    await arrived(country, 3)
    claims = [ClaimedReport(lab=LAB_NAME, report_number=number) for number in ("R0", "R1", "R9")]
    found = await look_up(henan, 0, claimed_reports=claims)
    assert [claim.state for claim in found.claims] == [
        CLAIMED_REPORT_MATCH_STATE_FOUND,
        CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
        CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    ]
    assert [claim.lab_region for claim in found.claims] == ["220500"] * 3
    assert not found.claims[1].HasField("result")
    assert [step.report_number for step in found.next_steps] == ["R9"]
    # The claims give the laboratory's name, which only the nation's register has, or the number alone.
    by_name = [ClaimedReport(lab_name="通化 第一检验所", report_number=number) for number in ("R0", "R1", "R9")]
    found = await look_up(henan, 0, limit=1, claimed_reports=[*by_name, ClaimedReport(report_number="OLD")])
    assert [(claim.state, claim.lab) for claim in found.claims] == [
        (CLAIMED_REPORT_MATCH_STATE_FOUND, LAB_NAME),
        (CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON, LAB_NAME),
        (CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, LAB_NAME),
        (CLAIMED_REPORT_MATCH_STATE_NOT_COMPARABLE, ""),
    ]
    # A number finds its result beyond the limit too.
    assert [one.report_number for one in found.claims[3].possible_results] == ["OLD"]
    assert [one.report_number for one in found.out_of_region] == ["R0"]
    assert found.claims[3].possible_results[0].masked_number.startswith("41****")


async def test_without_the_nation_the_province_answers_alone_and_says_so(country: Country, henan: Member) -> None:
    await henan.node.register()
    await henan.node.upload(make_tubes(1))
    await country.nation.node.server.stop(0)
    found = await look_up(henan, 0)
    assert [one.report_number for one in found.out_of_region] == ["R0"]
    assert states(found) == {f"nodes/{HENAN}": SOURCE_STATE_OK, "nodes/000000": SOURCE_STATE_UNAVAILABLE}


async def test_a_province_without_a_nation_says_that_it_has_none(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    async with open_member(tmp_path / "alone", sqlite_url("results"), HENAN) as alone:
        assert states(await look_up(alone, 0)) == {
            f"nodes/{HENAN}": SOURCE_STATE_OK,
            "nodes/000000": SOURCE_STATE_NOT_CONFIGURED,
        }


async def test_a_silent_province_is_a_source_that_does_not_answer(
    country: Country, jilin: Member, henan: Member
) -> None:
    """The province's later results are unknown, so a lack permits no refusal while the province is silent."""
    await until(lambda: country.nation.rows(nodes, "node") == [(JILIN,), (HENAN,)])
    await jilin.node.server.stop(0)
    database = open_database(country.nation.url)
    silent = SystemClock().now() - MAX_SILENCE - SECOND
    database.write_now(
        lambda connection: connection.execute(nodes.update().where(nodes.c.node == JILIN).values(contact_time=silent))
    )
    database.close()
    for member in (henan, country.nation):
        told = states(await look_up(member, 0))
        assert told[f"nodes/{JILIN}"] == SOURCE_STATE_UNAVAILABLE
        assert told["nodes/000000"] == SOURCE_STATE_OK


async def test_one_batch_holds_local_and_nationwide_questions_and_faulty_ones(
    country: Country, jilin: Member, henan: Member
) -> None:
    await jilin.node.upload(make_tubes(2))
    await arrived(country, 2)
    requests = [
        LookupLatestRequest(document=make_document(0), scope=LOOKUP_SCOPE_NATIONWIDE),
        LookupLatestRequest(document=make_document(0)),
        LookupLatestRequest(scope=LOOKUP_SCOPE_NATIONWIDE),
        LookupLatestRequest(document=make_document(1), scope=LOOKUP_SCOPE_NATIONWIDE),
    ]
    items = (await henan.node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=requests))).items
    assert [len(item.response.out_of_region) for item in items] == [1, 0, 0, 1]
    assert [item.HasField("error") for item in items] == [False, False, True, False]


async def test_a_token_of_jilin_is_honoured_in_henan_and_at_the_nation(country: Country, henan: Member) -> None:
    """Jilin's commits arrive late.

    Without the token an older state is served; with the token never, whatever the scope is.
    """
    async with link_to(country.nation.address) as way:
        # Clocks have no part in it: Jilin's is four minutes behind.
        jilin = await country.join(JILIN, upstream=way.address, clock=ClockAhead(-4 * MINUTE))
        await jilin.node.register()
        await jilin.node.upload([make_tube(0)])
        await arrived(country, 1)
        for person, asked in ((1, henan), (2, country.nation)):
            way.freeze()
            (answer,) = await jilin.node.upload([make_tube(person)], f"u{person}")
            older = await look_up(asked, person)
            assert not (*older.in_region, *older.out_of_region)
            token = answer.consistency_token
            asking = asyncio.ensure_future(look_up(asked, person, scope=LOOKUP_SCOPE_LOCAL, at_least_as_fresh=token))
            way.mend()
            fresh = await asking
            assert [one.report_number for one in (*fresh.in_region, *fresh.out_of_region)] == [f"R{person}"]


@pytest.mark.parametrize("country", [ResultsTiming(token_wait=0.3)], indirect=True, ids=["soon"])
async def test_a_token_that_is_not_met_in_time_is_unavailable(country: Country, jilin: Member, henan: Member) -> None:
    (answer,) = await jilin.node.upload(make_tubes(1))
    await jilin.node.server.stop(0)
    # The sender is gone: what it had not sent does not come.
    database = open_database(country.nation.url)
    database.write_now(lambda connection: connection.execute(replicated_lives.update().values(newest_sequence=0)))
    database.close()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await look_up(henan, 0, at_least_as_fresh=answer.consistency_token)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error_info(caught.value).reason == "NOT_FRESH_ENOUGH"
    # The same holds at the nation, and no other question of the batch fails.
    requests = [
        LookupLatestRequest(document=make_document(0), scope=LOOKUP_SCOPE_NATIONWIDE, at_least_as_fresh=token)
        for token in (answer.consistency_token, "")
    ]
    batch = BatchLookupLatestRequest(requests=requests)
    late, prompt = (await country.nation.node.results.BatchLookupLatest(batch, timeout=TIMEOUT_SECONDS)).items
    assert late.error.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert states(prompt.response)["nodes/000000"] == SOURCE_STATE_OK
