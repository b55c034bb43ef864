"""Reported refusals of a nation, a province and a city: real processes, of which the one in the middle is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hutong.results.v1.lab_pb2 import Lab, LabSigningKey
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, SetLabSigningKeyRequest
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.type.v1.channel_pb2 import CHANNEL_PAPER_REPORT
from hutong.type.v1.outcome_pb2 import OUTCOME_NEGATIVE
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1 import refusal_service_pb2 as service
from hutong.verification.v1.evidence_flag_service_pb2 import ListEvidenceFlagsRequest
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong_client.reports import signed as signed_reports
from hutong_client.reports.signed import SignedReport

from services.domain.instant import HOUR, SECOND, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.errors import failure_of
from tests.support.verification.node import ALL, LAB, NUMBERS, Callers, Node, calling, document, paper
from tests.support.waiting import until

NATION, HENAN, ZHENGZHOU = "000000", "410000", "410100"
HOTEL = purpose_pb2.PURPOSE_HOTEL
NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
RETEST = refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED
UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL


class Country(NamedTuple):
    """Three nodes, each below the one before it, and stubs of them by region."""

    nodes: dict[str, Node]
    callers: dict[str, Callers]


@pytest_asyncio.fixture
async def country(tmp_path: Path) -> AsyncIterator[Country]:
    async with AsyncExitStack() as stack:
        country = Country({}, {})
        above: Node | None = None
        for region in (NATION, HENAN, ZHENGZHOU):
            directory = tmp_path / region
            directory.mkdir()
            node = country.nodes[region] = Node(directory, region=region, above=above)
            stack.push_async_callback(node.close)
            country.callers[region] = await stack.enter_async_context(calling(node.addresses))
            above = node
        await asyncio.gather(*(node.start(ALL) for node in country.nodes.values()))
        await until(lambda: _has_published(country.callers[ZHENGZHOU]))
        yield country


async def _has_published(city: Callers) -> bool:
    """Publish a policy of the city. That fails until the province has handed over the city's earlier policies."""
    try:
        await city.publish("410100", 48 * HOUR)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def _report(number: str, *grounds: int, region: str = "410105", **fields: object) -> service.ReportRefusalRequest:
    now = SystemClock().now()
    return service.ReportRefusalRequest(
        region=region,
        venue="站前宾馆",
        venue_kind=refusal_pb2.VENUE_KIND_LODGING,
        purpose=HOTEL,
        refuse_time=to_timestamp(now - HOUR),
        grounds=grounds,  # type: ignore[arg-type]
        document=document(number),
        statement=f"{number} 他们不认",
        **fields,  # type: ignore[arg-type]
    )


async def _sign(nation: Callers, number: str) -> str:
    """Register a laboratory with a key at the nation.

    Return a report that the laboratory has signed for the holder of a document number.
    """
    key = Ed25519PrivateKey.generate()
    signing_key = LabSigningKey(public_key=signed_reports.to_der(key.public_key()))
    await nation.labs.CreateLab(CreateLabRequest(lab=Lab(name=LAB, display_name="检验所", region="410100")))
    await nation.labs.SetLabSigningKey(SetLabSigningKeyRequest(name=LAB, signing_key=signing_key))
    sampled = SystemClock().now() // SECOND - 6 * 3_600
    report = SignedReport(LAB.removeprefix("labs/"), "SIGNED", "", OUTCOME_NEGATIVE, sampled, sampled + 3_600)
    return signed_reports.sign(signed_reports.for_holder(report, number, "张*", ""), key)


async def _at(callers: Callers, name: str) -> refusal_pb2.Refusal | None:
    listed = (await callers.refusals.ListRefusals(service.ListRefusalsRequest())).refusals
    return next((one for one in listed if one.name == name), None)


async def _is_at(callers: Callers, name: str) -> bool:
    return await _at(callers, name) is not None


async def test_reported_at_the_nation_and_answered_in_the_city(country: Country) -> None:
    """The policies of the place and the paper that was shown decide, and the answer is read with the code.

    The province is killed while a report is under way.
    """
    nation, henan, city = (country.callers[region] for region in (NATION, HENAN, ZHENGZHOU))
    local = await city.refusals.ReportRefusal(_report(NUMBERS[0], NOT_LOCAL))
    assert local.refusal.state == refusal_pb2.REFUSAL_STATE_OPEN
    await until(lambda: _is_at(nation, local.refusal.name))
    known = await _at(nation, local.refusal.name)
    assert known is not None
    assert (known.assessment, known.statement) == (UNLAWFUL, "")

    await country.nodes[HENAN].stop(ALL, signal.SIGKILL)
    shown = paper("PAPER", SystemClock().now() - 5 * HOUR)
    signed = PresentedEvidence(channel=CHANNEL_PAPER_REPORT, signed_report=await _sign(nation, NUMBERS[1]))
    sent = await nation.refusals.ReportRefusal(_report(NUMBERS[1], RETEST, evidence=[shown, signed]))
    assert sent.refusal.state == refusal_pb2.REFUSAL_STATE_PENDING
    meanwhile = await city.refusals.ReportRefusal(_report(NUMBERS[2], NOT_LOCAL))
    await country.nodes[HENAN].start(ALL)

    async def tracked() -> refusal_pb2.Refusal:
        return (await nation.refusals.TrackRefusal(service.TrackRefusalRequest(code=sent.code))).refusal

    async def is_assessed() -> bool:
        return (await tracked()).assess_node != ""

    await until(is_assessed)
    found = await _at(city, sent.refusal.name)
    assert found is not None
    assert (found.assessment, found.assess_node, found.origin_node) == (UNLAWFUL, "nodes/410100", "nodes/000000")
    assert (found.venue_kind, NUMBERS[1] in found.statement) == (refusal_pb2.VENUE_KIND_LODGING, False)
    # Neither report number has a digit. The city cannot verify the signature, but has the verdict of the nation.
    flags = (await city.flags.ListEvidenceFlags(ListEvidenceFlagsRequest())).evidence_flags
    assert [one.report_number for one in flags] == ["PAPER"]
    answer = service.AnswerRefusalRequest(name=sent.refusal.name, answer="已整改")
    elsewhere = await failure_of(henan.refusals.AnswerRefusal(answer))
    assert elsewhere == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_RESPONSIBLE", [])
    await city.refusals.AnswerRefusal(answer)

    async def is_answered() -> bool:
        return (await tracked()).answer == "已整改"

    await until(is_answered)
    await until(lambda: _is_at(nation, meanwhile.refusal.name))
