"""Budgets of callers, by real servers: one gate's certificate cannot look up a city."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import code_pb2, error_details_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.results.v1.document_link_service_pb2 import ListLinkedDocumentsRequest
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.missing_report_service_pb2 import ListMissingReportsRequest
from hutong.results.v1.missing_report_service_pb2_grpc import MissingReportServiceStub
from hutong.results.v1.results_service_pb2 import ListResultsRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.type.v1 import purpose_pb2
from hutong.verification.v1 import evidence_pb2
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, StreamVerifyRequest, VerifyRequest
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub
from prometheus_client import REGISTRY

from services.command.audit import who_read
from services.results.missing_reports.presenters import OF_ONE_LAB
from services.runtime.clock import SystemClock
from services.runtime.server.timing import ServerTiming
from tests.support.access.guarded import CASE, OTHER_REGION, REGION, USER, Guarded, open_guarded
from tests.support.databases import SqliteDatabases
from tests.support.errors import detail_of, failure_of, rich_status
from tests.support.policy.service import make_policy
from tests.support.replaced import replace_file
from tests.support.results.factories import LAB_NAME, make_document
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
PERSONS, MISSES = 40, 15
ACCESS = f"""
grants:
  - role: gate
    regions: [{REGION}]
  - role: gate
    regions: ["{OTHER_REGION}"]
  - role: gate
    regions: ["220503"]
    bare_number: true
quotas:
  - role: gate
    persons_an_hour: {PERSONS}
    misses_an_hour: null
    units_a_second: null
  - caller: gates/{REGION}/misses
    misses_an_hour: {MISSES}
  - caller: gates/{REGION}/guesses
    misses_an_hour: {MISSES}
  - caller: gates/{REGION}/papers
    misses_an_hour: {MISSES}
  - caller: supervisors/{REGION}/nosy
    persons_an_hour: 3
  - caller: gates/{REGION}/streams
    streams: 1
    persons_an_hour: 2
"""
EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXCEEDED")


@pytest.fixture(scope="module")
def access_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("access") / "access.yaml"
    file.write_text(ACCESS)
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    access_file: Path, tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    quick = ServerTiming(reload=0.05)
    async with open_guarded(directory, sqlite_databases.make, quick, access_file=str(access_file)) as opened:
        # Without a rule no result is asked for.
        rules = PolicyAdminServiceStub(await opened.channel("policy", f"authorities/{REGION}"))
        await rules.PublishPolicy(PublishPolicyRequest(policy=make_policy(f"jurisdictions/{REGION}/policies/hotel")))
        yield opened


def question(person: int) -> VerifyRequest:
    return VerifyRequest(document=make_document(person), region="220502", purpose=purpose_pb2.PURPOSE_HOTEL)


async def gate(guarded: Guarded, name: str) -> Any:
    return VerificationServiceStub(await guarded.channel("verification", f"gates/{REGION}/{name}"))


def missed() -> float:
    return REGISTRY.get_sample_value("hutong_persons_missed_total", {"role": "gate"}) or 0.0


async def test_ten_thousand_strangers_are_stopped(guarded: Guarded) -> None:
    """In batches of the largest size, as many persons are answered as the budget has. The others get errors."""
    stub = await gate(guarded, "crowd")
    before, answered = missed(), 0
    for start in range(1000, 11_000, 500):
        batch = BatchVerifyRequest(requests=map(question, range(start, start + 500)))
        for item in (await stub.BatchVerify(batch, timeout=TIMEOUT_SECONDS)).items:
            answered += item.HasField("decision")
            if not item.HasField("decision"):
                assert item.error.code == code_pb2.RESOURCE_EXHAUSTED
    assert answered == PERSONS
    assert missed() == before + PERSONS
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Verify(question(11_000))
    status = rich_status(caught.value)
    info = detail_of(status, error_details_pb2.ErrorInfo)
    name = f"gates/{REGION}/crowd"
    assert dict(info.metadata) == {"caller": name, "what": "distinct persons an hour", "limit": str(PERSONS)}
    (violation,) = detail_of(status, error_details_pb2.QuotaFailure).violations
    assert violation.subject == name
    wait = detail_of(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta()
    assert timedelta(minutes=55) < wait <= timedelta(hours=1)
    # A person who was asked about before may be asked about again.
    await stub.Verify(question(1000))


async def test_a_supervisor_with_a_case_is_stopped_too(guarded: Guarded) -> None:
    """Results and documents of persons are counted together. A new case adds to the count too."""
    channel = await guarded.channel("results", f"supervisors/{REGION}/nosy")
    results, links = ResultsServiceStub(channel), DocumentLinkServiceStub(channel)
    for person in range(2):
        asked = ListResultsRequest(document=make_document(person))
        await results.ListResults(asked, metadata=(("hutong-case", f"C-{person}"),))
    await links.ListLinkedDocuments(ListLinkedDocumentsRequest(document=make_document(2)), metadata=(CASE,))
    refused = results.ListResults(ListResultsRequest(document=make_document(3)), metadata=(CASE,))
    assert (await failure_of(refused))[:2] == EXHAUSTED


async def test_misses_are_stopped_earlier(guarded: Guarded) -> None:
    """Somebody of whom something is recorded is no miss."""
    stub = await gate(guarded, "misses")
    await stub.Verify(question(USER))
    for person in range(20_000, 20_000 + MISSES):
        await stub.Verify(question(person))
    assert (await failure_of(stub.Verify(question(30_000))))[:2] == EXHAUSTED
    await stub.Verify(question(USER))


async def test_guessing_names_of_one_number_costs_misses(guarded: Guarded) -> None:
    """Guesses with made-up evidence are misses too, although their answers have another reason."""
    report = evidence_pb2.PresentedEvidence(channel=1, lab=LAB_NAME, report_number="nosuch", outcome=1)
    for name, evidence in (("guesses", []), ("papers", [report])):
        stub = await gate(guarded, name)
        asked = question(USER)
        asked.evidence.extend(evidence)
        await stub.Verify(asked)
        for index in range(MISSES):
            asked.document.name = f"王{chr(0x4E00 + index)}"
            await stub.Verify(asked)
        asked.document.name = "李四"
        assert (await failure_of(stub.Verify(asked)))[:2] == EXHAUSTED
        asked.document.name = make_document(USER).name
        await stub.Verify(asked)


async def test_each_other_paper_of_one_person_costs_a_person(guarded: Guarded) -> None:
    """Each further report number that is shown with one document costs as much as a further person.

    If only the document counted, one document number would suffice to try out report numbers, and to fill the stores
    with claims. A report number that was shown before costs nothing more.
    """
    stub = await gate(guarded, "forger")

    def shown(number: int) -> VerifyRequest:
        asked = question(USER)
        asked.evidence.add(channel=1, lab=LAB_NAME, report_number=f"X{number}", outcome=1)
        return asked

    for number in range(PERSONS):
        await stub.Verify(shown(number))
    assert (await failure_of(stub.Verify(shown(PERSONS))))[:2] == EXHAUSTED
    await stub.Verify(shown(0))
    await _require_room_in_the_list(guarded, shown(PERSONS))


async def _require_room_in_the_list(guarded: Guarded, asked: VerifyRequest) -> None:
    """Show a report by another gate. It is listed as missing, beside a limited number of those of the forger."""
    (honest,) = asked.evidence
    await (await gate(guarded, "honest")).Verify(asked)
    lab = MissingReportServiceStub(await guarded.channel("results", LAB_NAME))
    numbers: set[str] = set()

    async def is_listed() -> bool:
        response = await lab.ListMissingReports(ListMissingReportsRequest(lab=LAB_NAME, page_size=500))
        numbers.update(one.report_number for one in response.missing_reports)
        return honest.report_number in numbers

    await until(is_listed)
    forged = {f"X{number}" for number in range(PERSONS)}
    assert OF_ONE_LAB < PERSONS
    assert len(numbers & forged) == OF_ONE_LAB


async def test_a_stream_refuses_one_person_too_many_and_goes_on(guarded: Guarded) -> None:
    """The question has its own error and its row of the audit. A second stream is one too many."""
    stub = await gate(guarded, "streams")
    stream = stub.StreamVerify(timeout=TIMEOUT_SECONDS)
    for person in (1, 2):
        await stream.write(StreamVerifyRequest(correlation_id=str(person), request=question(person)))
        assert (await stream.read()).HasField("decision")
    assert (await failure_of(stub.StreamVerify(iter([]), timeout=TIMEOUT_SECONDS).read()))[:2] == EXHAUSTED
    await stream.write(StreamVerifyRequest(correlation_id="3", request=question(3)))
    refused = await stream.read()
    assert (refused.correlation_id, refused.error.code) == ("3", code_pb2.RESOURCE_EXHAUSTED)
    assert detail_of(refused.error, error_details_pb2.ErrorInfo).reason == "BUDGET_EXCEEDED"
    await stream.write(StreamVerifyRequest(correlation_id="1", request=question(1)))
    assert (await stream.read()).HasField("decision")
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    document = question(3).document
    output = io.StringIO()
    asked = (document.type, document.number, document.issuing_country)
    who_read(guarded.settings, ["verification"], asked, SystemClock().now(), output)
    (row, *_) = [json.loads(line) for line in output.getvalue().splitlines()]
    assert (row["kind"], row["code"], row["caller"]) == ("DENIAL", "RESOURCE_EXHAUSTED", f"gates/{REGION}/streams")


async def test_the_file_lets_some_gates_ask_by_the_bare_number(guarded: Guarded) -> None:
    """The other gates must state the name, on a stream too."""
    asked = question(1)
    asked.document.name = ""
    assert (await failure_of((await gate(guarded, "names")).Verify(asked)))[2] == ["document.name"]
    asked.region = "220503"
    stub = VerificationServiceStub(await guarded.channel("verification", "gates/220503/turnstile"))
    assert (await stub.Verify(asked)).HasField("decision")
    stream = stub.StreamVerify(timeout=TIMEOUT_SECONDS)
    await stream.write(StreamVerifyRequest(request=asked))
    assert (await stream.read()).HasField("decision")
    stream.cancel()


async def test_the_file_is_read_again_and_narrows(guarded: Guarded, access_file: Path) -> None:
    """A file that cannot be used changes nothing. A caller that the file excludes is told so, and no other role is."""
    stub = await gate(guarded, "narrowed")
    await stub.Verify(question(1))

    async def is_excluded() -> bool:
        return await stub.Verify(question(1)).code() is grpc.StatusCode.PERMISSION_DENIED

    replace_file(access_file, f"grants: [{{role: gate, regions: [{OTHER_REGION}]}}]")
    await until(is_excluded)
    replace_file(access_file, "grants: [{role: gaet}]")
    reader = VerificationServiceStub(await guarded.channel("verification", f"gates/{OTHER_REGION}/1"))
    other = question(1)
    other.region = "410105"
    await reader.Verify(other)
    replace_file(access_file, ACCESS)
    await until(lambda: _is_admitted(stub))


async def _is_admitted(stub: Any) -> bool:
    return await stub.Verify(question(1)).code() is grpc.StatusCode.OK
