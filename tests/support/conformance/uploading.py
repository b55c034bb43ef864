"""Checks 1 to 14: uploads."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import Upload
from hutong.results.v1.upload_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadResultsRequest,
    UploadResultsResponse,
)

from services.domain.instant import HOUR, MINUTE, to_timestamp
from services.results.main import open_results
from services.runtime.clock import SystemClock
from tests.support.certificates import Authority, spiffe
from tests.support.conformance.case import RESULTS, UPLOADS, Case, failing, totals
from tests.support.conformance.fake import failure
from tests.support.conformance.network import tls_files
from tests.support.conformance.world import register_lab
from tests.support.link import Link, link_to
from tests.support.results.factories import LAB_NAME, lab_to_register
from tests.support.servers import serving, settings_for
from tests.support.verification.node import Node, calling

UPLOAD_RESULTS, GET_UPLOAD = f"{UPLOADS}/UploadResults", f"{UPLOADS}/GetUpload"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
ACKNOWLEDGED_SECONDS = 1.0
"""An acknowledgement reaches the program within this time of its batch, without delays of the network."""
PROMPT_TRIES = 10
"""The most batches until one is acknowledged in time."""
ASKED_SECONDS = 0.8
"""A delay that a service asks for, above the first wait of each client, which is at most 0.25 seconds."""
MAX_TUBES, MAX_BATCH_BYTES = 1_000, 1024 * 1024


async def ordered_acknowledgements(case: Case) -> None:
    """Each batch is acknowledged once, in order, with its count of persons."""
    tubes = [case.tube(0, 3), case.tube(3), case.tube(4, 2), case.tube(6), case.tube(7, 5)]
    async with case.province("results") as channel:
        answers = await case.upload(channel, "u", tubes, batch=2)
        assert [answer.committed_offset for answer in answers] == [2, 4, 5]
        assert [answer.accepted_count for answer in answers] == [4, 3, 5]
        assert totals(await case.upload_state(channel, "u")) == (5, 12, 0, 0)
        assert await case.upload_state(channel, "unknown") is None
    if case.is_distant:
        await _upload_by_certificate(case)


async def _upload_by_certificate(case: Case) -> None:
    """A node that ends TLS itself knows the laboratory by its certificate, and refuses the upload of another one."""
    authority = Authority(case.directory, "node")
    server, caller = authority.sign("server"), authority.sign("lab", spiffe(LAB_NAME))
    supervisor = authority.sign("supervisor", spiffe("supervisors/000000"))
    settings = settings_for(
        case.directory,
        tls_certificate_file=str(server.certificate),
        tls_key_file=str(server.key),
        tls_client_ca_file=str(authority.root.certificate),
    )
    credentials = grpc.ssl_channel_credentials(authority.root.certificate.read_bytes(), *supervisor.pem())
    async with serving(await open_results(settings), settings) as address, link_to(address) as link:
        async with grpc.aio.secure_channel(address, credentials) as registering:
            await LabServiceStub(registering).CreateLab(CreateLabRequest(lab=lab_to_register()))
        link.slow(case.network.delay)
        async with case.channel("", link, tls_files(authority, caller)) as channel:
            operation = case.start_upload(channel, LAB_NAME, "u", case.tubes(2))
            [event] = await operation.all("acknowledged")
            assert event["response"]["acceptedCount"] == 2
            error = await failing(case.start_upload(channel, await case.lab(), "u", case.tubes(2)).result())
            assert (error.code, error.reason) == ("PERMISSION_DENIED", "NOT_PERMITTED")


async def bad_person(case: Case) -> None:
    """A person with a faulty number is rejected alone, and the violation has the path."""
    tube = case.tube(0, 3)
    tube.persons[1].document.number = "110101190001010000"
    async with case.province("results") as channel:
        [answer] = await case.upload(channel, "u", [case.tube(5), tube])
    assert (answer.accepted_count, answer.rejected_count) == (3, 1)
    [rejection] = answer.rejections
    assert (rejection.tube_index, rejection.person_index) == (1, 1)
    assert [(it.field, it.reason) for it in rejection.violations] == [
        ("persons[1].document.number", "BAD_DOCUMENT_NUMBER")
    ]


async def whole_tube(case: Case) -> None:
    """A fault of the tube rejects the whole tube, with person_index -1."""
    async with case.province("results") as channel:
        [answer] = await case.upload(channel, "u", [case.tube(0, 3, region="999999"), case.tube(3)])
    assert (answer.accepted_count, answer.rejected_count) == (1, 3)
    [rejection] = answer.rejections
    assert (rejection.tube_index, rejection.person_index) == (0, -1)
    assert [it.reason for it in rejection.violations] == ["REGION_UNKNOWN"]


async def retryable_rejections(case: Case) -> None:
    """Only TIME_IN_FUTURE is retryable."""
    early = case.tube(1)
    early.report_time.CopyFrom(to_timestamp(case.reported - 5 * HOUR))
    bad_person = case.tube(3)
    bad_person.persons[0].document.number = "110101190001010000"
    future = case.tube(0, reported=SystemClock().now() + 30 * MINUTE)
    mismatch = case.tube(4, pool_size=3, outcome=3)
    async with case.province("results") as channel:
        [answer] = await case.upload(channel, "u", [future, early, case.tube(2, region="999999"), bad_person, mismatch])
    found = {it.violations[0].reason: it.retryable for it in answer.rejections}
    assert found.pop("TIME_IN_FUTURE") is True
    assert {"TIMES_OUT_OF_ORDER", "REGION_UNKNOWN", "BAD_DOCUMENT_NUMBER"} <= found.keys()
    assert not any(found.values()), found


async def cut_anywhere(case: Case) -> None:
    """The connection is cut after any byte, in either direction. The totals are those of an undisturbed upload."""
    faulty = 3
    count = 6

    async def upload(first: int, upload_id: str, link: Link) -> int:
        """Return the number of acknowledgements. `Case.upload` checks their order."""
        tubes = case.tubes(count, first)
        tubes[faulty].sample_region = "999999"
        async with case.channel("", link) as channel:
            return len(await case.upload(channel, upload_id, tubes, batch=2))

    async with case.province("results") as quiet:
        async with case.network.link(case.world.province["results"]) as link:
            assert await upload(0, "undisturbed", link) == count // 2
            lengths = list(link.counts)
        undisturbed = totals(await case.upload_state(quiet, "undisturbed"))
        assert undisturbed == (count, count - 1, 0, 1)
        parts = 4 if case.is_distant else 9

        async def cut(index: int) -> None:
            part, back = divmod(index, 2)
            # The last tenth is left out, because the number of bytes varies a little.
            byte = 1 + lengths[back] * 9 * part // (10 * parts)
            upload_id = f"cut-{index}"
            async with case.network.link(case.world.province["results"]) as link:
                link.cut_at(byte, back=bool(back))
                assert await upload(count * (index + 1), upload_id, link) == count // 2
                assert link.cut_count == 1, f"it was not cut at byte {byte} of {link.counts[back]}"
            assert totals(await case.upload_state(quiet, upload_id)) == undisturbed

        await asyncio.gather(*map(cut, range(2 * parts)))


async def replay(case: Case) -> None:
    """Tubes below the offset are acknowledged again with the same rejections, and no row is added."""
    tubes = case.tubes(4)
    tubes[2].sample_region = "999999"
    async with case.province("results") as channel:
        before = await case.upload(channel, "u", tubes, batch=2)
        rows = await _reports(case, channel)
        again = await case.upload(channel, "u", tubes, batch=2)
        assert [list(it.rejections) for it in again] == [list(it.rejections) for it in before]
        assert [(it.accepted_count, it.duplicate_count, it.rejected_count) for it in again] == [(0, 2, 0), (0, 1, 1)]
        assert await _reports(case, channel) == rows
        assert len(rows) == len(tubes) - 1
        assert totals(await case.upload_state(channel, "u")) == (4, 3, 0, 1)


async def same_rows_again(case: Case) -> None:
    """The same rows under another id are duplicates."""
    async with case.province("results") as channel:
        [first] = await case.upload(channel, "u", case.tubes(3))
        [again] = await case.upload(channel, "other", case.tubes(3))
        assert (first.accepted_count, first.duplicate_count) == (3, 0)
        assert (again.accepted_count, again.duplicate_count) == (0, 3)


async def changed_field(case: Case) -> None:
    """One optional field is changed.

    The rejection is CONFLICT, with the path of the field. A changed item names the item.
    """
    antigen = "items/sars-cov-2-antigen"
    changed = [case.tube(0, site="another site"), case.tube(1, item=antigen)]
    async with case.province("results") as channel:
        await case.upload(channel, "u", case.tubes(2))
        [answer] = await case.upload(channel, "other", changed, items=[antigen])
    assert [(it.tube_index, it.person_index) for it in answer.rejections] == [(0, 0), (1, 0)]
    assert not any(it.retryable for it in answer.rejections)
    assert [(it.field, it.reason) for rejection in answer.rejections for it in rejection.violations] == [
        ("sample_site", "CONFLICT"),
        ("item", "CONFLICT"),
    ]


async def gap(case: Case) -> None:
    """A batch beyond the committed offset ends the upload with the offset at which it goes on."""
    async with case.province("results") as channel:
        await case.upload(channel, "u", case.tubes(2))
        error = await failing(case.upload(channel, "u", case.tubes(1, 5), offset=5))
        assert (error.code, error.reason) == ("OUT_OF_RANGE", "UPLOAD_GAP")
        offset = int(error.metadata["committed_offset"])
        await case.upload(channel, "u", case.tubes(4, offset), offset=offset)
        assert totals(await case.upload_state(channel, "u")) == (6, 6, 0, 0)


async def reused_id(case: Case) -> None:
    """Other tubes under a used id end the upload with UPLOAD_ID_REUSED."""
    async with case.province("results") as channel:
        await case.upload(channel, "u", case.tubes(3))
        error = await failing(case.upload(channel, "u", [*case.tubes(1), case.tube(7), case.tube(2)]))
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "UPLOAD_ID_REUSED")
        assert error.metadata["offset"] == "1"
        assert error.fields == ["start.upload_id"]
        assert not error.can_be_retried


class _Uploads:
    """An upload service in memory that accepts every tube. `fail` may end a stream before a batch is committed."""

    def __init__(self) -> None:
        self.batches: list[UploadResultsRequest] = []
        self.committed = 0
        self.called: list[float] = []
        self.failures: list[BaseException] = []
        self.failed: list[float] = []

    async def upload(self, requests: AsyncIterator[Any]) -> AsyncIterator[UploadResultsResponse]:
        loop = asyncio.get_running_loop()
        self.called.append(loop.time())
        async for request in requests:
            if not request.HasField("batch"):
                continue
            if self.failures:
                self.failed.append(loop.time())
                raise self.failures.pop(0)
            self.batches.append(request)
            self.committed = request.batch.offset + len(request.batch.tubes)
            yield UploadResultsResponse(committed_offset=self.committed, accepted_count=len(request.batch.tubes))

    async def get(self, request: GetUploadRequest) -> GetUploadResponse:
        self.called.append(asyncio.get_running_loop().time())
        if not self.committed:
            raise failure(grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        return GetUploadResponse(upload=Upload(name=request.name, committed_offset=self.committed))

    @property
    def answers(self) -> dict[str, Any]:
        return {UPLOAD_RESULTS: self.upload, GET_UPLOAD: self.get}


async def splitting(case: Case) -> None:
    """The client's own batches have at most 1,000 tubes and at most 1 MiB, and are no smaller than that needs."""
    uploads = _Uploads()
    small = case.tubes(1_100 if case.is_distant else 2_300)
    async with case.fake(uploads.answers) as channel:
        await case.upload(channel, "small", small)
        sizes = [len(it.batch.tubes) for it in uploads.batches]
        assert sizes == [MAX_TUBES] * (len(small) // MAX_TUBES) + [len(small) % MAX_TUBES]
        if case.is_distant:
            return
        uploads.batches.clear()
        large = [case.tube(20 * (index % 40), 20, site="点" * 200) for index in range(600)]
        await case.upload(channel, "large", large)
    lengths = [it.batch.ByteSize() for it in uploads.batches]
    assert sum(len(it.batch.tubes) for it in uploads.batches) == len(large)
    assert max(lengths) <= MAX_BATCH_BYTES
    assert len(lengths) == 1 + sum(it.ByteSize() for it in large) // MAX_BATCH_BYTES


async def obeyed_retry_info(case: Case) -> None:
    """The service is called again after the delay that it asks for, and not before."""
    uploads = _Uploads()
    uploads.failures = [failure(EXHAUSTED, "QUOTA_EXCEEDED", retry_seconds=ASKED_SECONDS) for _ in range(2)]
    async with case.fake(uploads.answers) as channel:
        await case.upload(channel, "u", case.tubes(6), batch=1)
    assert uploads.committed == 6
    assert len(uploads.failed) == 2
    for failed in uploads.failed:
        following = min(called for called in uploads.called if called > failed)
        assert following - failed >= ASKED_SECONDS, f"called again after {following - failed:.2f} s"


async def ended_and_frozen(case: Case) -> None:
    """The service ends by SIGTERM and by SIGKILL, is frozen, and is cut off without notice. Nothing is lost."""
    node = Node(case.directory)
    try:
        await node.start("results")
        async with calling(node.addresses) as callers:
            lab = await register_lab(callers, 1, "220500")
        async with case.channel(node.addresses["results"]) as channel:
            operation = case.start_upload(channel, lab, "u", case.tubes(1), hold=True)
            await operation.event("acknowledged")
            sent = 1
            for number in (signal.SIGTERM, signal.SIGKILL):
                await node.stop("results", number)
                await operation.more(case.tubes(2, sent))
                await node.start("results")
                assert (await operation.event("acknowledged"))["offset"] == sent
                sent += 2
            await node.freeze("results")
            await operation.more(case.tubes(2, sent))
            node.thaw("results")
            assert (await operation.event("acknowledged"))["offset"] == sent
            await operation.finish()
            await operation.result()
            found = await case.adapter.ask("upload_state", channel=channel, lab=lab, upload_id="u")
            assert totals(found["upload"]) == (sent + 2, sent + 2, 0, 0)
    finally:
        await node.close()
    if not case.is_distant:
        await _half_open(case)


async def _half_open(case: Case) -> None:
    """The link carries nothing any more and neither side notices. Keepalive finds it after 30 seconds."""
    async with case.network.link(case.world.province["results"]) as link, case.channel("", link) as channel:
        operation = case.start_upload(channel, await case.lab(), "u", case.tubes(1), hold=True)
        await operation.event("acknowledged")
        link.strand()
        await operation.more(case.tubes(2, 1))
        assert (await operation.event("acknowledged"))["offset"] == 1
        await operation.finish()
        await operation.result()
        assert totals(await case.upload_state(channel, "u")) == (3, 3, 0, 0)


async def prompt_acknowledgement(case: Case) -> None:
    """An acknowledgement reaches the program within a second, although the source gives nothing more.

    Another program may have the processor meanwhile. It does not have it at each of ten batches.
    """
    uploads = _Uploads()
    is_prompt = False
    async with case.fake(uploads.answers) as channel:
        operation = case.start_upload(channel, await case.lab(), "u", case.tubes(1), hold=True)
        await operation.event("acknowledged")
        for index in range(1, PROMPT_TRIES + 1):
            await operation.more([case.tube(index)])
            try:
                async with asyncio.timeout(ACKNOWLEDGED_SECONDS + 4 * case.network.delay):
                    assert (await operation.event("acknowledged"))["offset"] == index
                is_prompt = True
                break
            except TimeoutError:
                await operation.event("acknowledged")
        await operation.finish()
        await operation.result()
    assert is_prompt


async def _reports(case: Case, channel: str) -> list[str]:
    """Return the report numbers of the check's laboratory."""
    listed = await case.call(channel, f"{RESULTS}/ListResults", {"lab": await case.lab(), "pageSize": 500})
    return [it["reportNumber"] for it in listed.get("testResults", ())]
