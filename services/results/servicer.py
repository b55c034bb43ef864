"""The gRPC face of the Results service: wire ↔ domain, nothing else. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    CreateLabResponse,
    GetLabRequest,
    GetLabResponse,
    ListLabsRequest,
    ListLabsResponse,
    SetLabStandingRequest,
    SetLabStandingResponse,
)
from hutong.results.v1.lab_service_pb2_grpc import LabServiceServicer
from hutong.results.v1.results_admin_service_pb2 import (
    CorrectResultRequest,
    CorrectResultResponse,
    RecallResultsRequest,
    RecallResultsResponse,
)
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceServicer
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    BatchLookupLatestResponse,
    GetResultRequest,
    GetResultResponse,
    ImportResultsRequest,
    ImportResultsResponse,
    LinkDocumentsRequest,
    LinkDocumentsResponse,
    ListFollowUpsRequest,
    ListFollowUpsResponse,
    ListLinkedDocumentsRequest,
    ListLinkedDocumentsResponse,
    ListResultsRequest,
    ListResultsResponse,
    LookupLatestRequest,
    LookupLatestResponse,
    UnlinkDocumentsRequest,
    UnlinkDocumentsResponse,
    WatchResultsRequest,
    WatchResultsResponse,
)
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceServicer
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceServicer
from hutong.results.v1.upload_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadResultsRequest,
    UploadResultsResponse,
)
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceServicer

from services.domain.instant import from_duration, from_timestamp, to_timestamp
from services.domain.names import parse_lab, parse_result, parse_upload
from services.domain.subject import Pepper, mask_resident_numbers
from services.results.records import convert
from services.results.lookup.lookup import LookupDesk
from services.results.exchange.upstream.import_results import Importer
from services.results.missing_reports.queue import ReminderDesk
from services.results.lookup.listing import list_results
from services.results.records.model import DocumentLink, Lab, StandingChange, StoredResult
from services.results.store import Once, Store
from services.results.upload.stream import UploadDesk
from services.results.timeliness.delays import DEFAULT_LATE
from services.results.watch.watch import Watch
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.page_tokens import PageTokens, page_size

Context = Any
"""grpc.aio.ServicerContext; the layers around these methods have used what there is to use of it."""


class LabServicer(LabServiceServicer):
    """The register of laboratories."""

    def __init__(self, store: Store, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def CreateLab(self, request: CreateLabRequest, context: Context) -> CreateLabResponse:
        now = self._clock.now()
        lab = convert.lab_from_proto(request.lab, now)

        def encode(lab: Lab) -> CreateLabResponse:
            return CreateLabResponse(lab=convert.lab_to_proto(lab, now))

        return await self._store.create_lab(lab, Once(request, CreateLabResponse, encode, now))

    async def GetLab(self, request: GetLabRequest, context: Context) -> GetLabResponse:
        lab = await self._store.get_lab(parse_lab(request.name))
        return GetLabResponse(lab=convert.lab_to_proto(lab, self._clock.now()))

    async def ListLabs(self, request: ListLabsRequest, context: Context) -> ListLabsResponse:
        region = convert.known_region(request.region, "region") if request.region else ""
        position = self._tokens.position(request, (str,))
        size = page_size(request.page_size)
        labs = await self._store.list_labs(region, position[0] if position else "", size + 1)
        token = self._tokens.issue(request, [labs[size - 1].uscc]) if len(labs) > size else ""
        now = self._clock.now()
        shown = [convert.lab_to_proto(lab, now, with_history=False) for lab in labs[:size]]
        return ListLabsResponse(labs=shown, next_page_token=token)

    async def SetLabStanding(self, request: SetLabStandingRequest, context: Context) -> SetLabStandingResponse:
        now = self._clock.now()
        effective = from_timestamp(request.effective_time) if request.HasField("effective_time") else now
        change = StandingChange(request.standing, effective, mask_resident_numbers(request.reason), now)

        def encode(lab: Lab) -> SetLabStandingResponse:
            return SetLabStandingResponse(lab=convert.lab_to_proto(lab, now))

        once = Once(request, SetLabStandingResponse, encode, now)
        return await self._store.set_standing(parse_lab(request.name), change, once)


class UploadServicer(UploadServiceServicer):
    """How laboratories bring results in."""

    def __init__(self, store: Store, desk: UploadDesk) -> None:
        self._store = store
        self._desk = desk

    async def UploadResults(
        self, requests: AsyncIterator[UploadResultsRequest], context: Context
    ) -> AsyncIterator[UploadResultsResponse]:
        async for response in self._desk.receive(requests):
            yield response

    async def GetUpload(self, request: GetUploadRequest, context: Context) -> GetUploadResponse:
        upload = await self._store.get_upload(*parse_upload(request.name))
        return GetUploadResponse(upload=convert.upload_to_proto(upload))


class ResultsServicer(ResultsServiceServicer):
    """Reading results, and tying documents together."""

    def __init__(
        self,
        store: Store,
        desk: LookupDesk,
        watch: Watch,
        reminders: ReminderDesk,
        importer: Importer,
        pepper: Pepper,
        clock: Clock,
    ) -> None:
        self._store = store
        self._desk = desk
        self._watch = watch
        self._reminders = reminders
        self._importer = importer
        self._pepper = pepper
        self._tokens = PageTokens(pepper.secret)
        self._clock = clock

    async def GetResult(self, request: GetResultRequest, context: Context) -> GetResultResponse:
        listing = await self._store.get_result(*parse_result(request.name))
        (result,) = convert.listing_to_proto(listing)
        return GetResultResponse(test_result=result)

    async def ListResults(self, request: ListResultsRequest, context: Context) -> ListResultsResponse:
        return await list_results(self._store, self._pepper, self._tokens, request, self._clock.now())

    async def LookupLatest(self, request: LookupLatestRequest, context: Context) -> LookupLatestResponse:
        return await self._desk.look_up(request)

    async def BatchLookupLatest(self, request: BatchLookupLatestRequest, context: Context) -> BatchLookupLatestResponse:
        return await self._desk.look_up_each(request)

    async def ImportResults(self, request: ImportResultsRequest, context: Context) -> ImportResultsResponse:
        return await self._importer.import_results(request)

    async def ListFollowUps(self, request: ListFollowUpsRequest, context: Context) -> ListFollowUpsResponse:
        return await self._reminders.list(request)

    async def WatchResults(self, request: WatchResultsRequest, context: Context) -> AsyncIterator[WatchResultsResponse]:
        async for message in self._watch.follow(request):
            yield message

    async def LinkDocuments(self, request: LinkDocumentsRequest, context: Context) -> LinkDocumentsResponse:
        now = self._clock.now()
        link = convert.link_from_proto(request, self._pepper, uuid7(), now)

        def encode(link: DocumentLink) -> LinkDocumentsResponse:
            return LinkDocumentsResponse(document_link=convert.link_to_proto(link))

        return await self._store.link(link, Once(request, LinkDocumentsResponse, encode, now))

    async def UnlinkDocuments(self, request: UnlinkDocumentsRequest, context: Context) -> UnlinkDocumentsResponse:
        now = self._clock.now()
        document = convert.linked_from_proto(request.document, self._pepper, "document")
        linked = convert.linked_from_proto(request.linked_document, self._pepper, "linked_document")

        def encode(link: DocumentLink) -> UnlinkDocumentsResponse:
            return UnlinkDocumentsResponse(document_link=convert.link_to_proto(link))

        once = Once(request, UnlinkDocumentsResponse, encode, now)
        return await self._store.unlink(document, linked, mask_resident_numbers(request.reason), once)

    async def ListLinkedDocuments(
        self, request: ListLinkedDocumentsRequest, context: Context
    ) -> ListLinkedDocumentsResponse:
        key = self._pepper.subject_key(convert.document_from_proto(request.document))
        position = self._tokens.position(request, (int, str))
        size = page_size(request.page_size)
        links = await self._store.list_links(key, (position[0], position[1]) if position else None, size + 1)
        shown = links[:size]
        token = self._tokens.issue(request, [shown[-1].create_time, shown[-1].link_id]) if len(links) > size else ""
        return ListLinkedDocumentsResponse(
            document_links=[convert.link_to_proto(link) for link in shown], next_page_token=token
        )


class ResultsAdminServicer(ResultsAdminServiceServicer):
    """Changing what was reported, with history."""

    def __init__(self, store: Store, jurisdiction: str, clock: Clock) -> None:
        self._store = store
        self._jurisdiction = jurisdiction
        self._clock = clock

    async def CorrectResult(self, request: CorrectResultRequest, context: Context) -> CorrectResultResponse:
        now = self._clock.now()
        correction = convert.correction_from_proto(request)
        lab = await self._store.get_lab(correction.lab)

        def encode(result: StoredResult) -> CorrectResultResponse:
            return CorrectResultResponse(test_result=convert.result_to_proto(result, lab.standing_at(result.file_time)))

        response = await self._store.correct(correction, Once(request, CorrectResultResponse, encode, now))
        response.consistency_token = convert.token(self._jurisdiction, self._clock.now())
        return response

    async def RecallResults(self, request: RecallResultsRequest, context: Context) -> RecallResultsResponse:
        now = self._clock.now()
        recall = convert.recall_from_proto(request)

        def encode(count: int) -> RecallResultsResponse:
            return RecallResultsResponse(recalled_count=count)

        once = Once(request, RecallResultsResponse, encode, now)
        response = await self._store.recall(recall, once, pretend=request.validate_only)
        if not request.validate_only:
            response.consistency_token = convert.token(self._jurisdiction, self._clock.now())
        return response


class TimelinessServicer(TimelinessServiceServicer):
    """Who is late."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def SummarizeTimeliness(
        self, request: SummarizeTimelinessRequest, context: Context
    ) -> SummarizeTimelinessResponse:
        lab = parse_lab(request.lab, "lab") if request.lab else ""
        region = "" if lab else convert.known_region(request.region, "region")
        start, end = convert.interval(request.start_time, request.end_time, "end_time")
        late = from_duration(request.late_threshold) if request.HasField("late_threshold") else DEFAULT_LATE
        found = await self._store.summarize_timeliness(lab, region, start, end, late)
        return SummarizeTimelinessResponse(
            timeliness=convert.timeliness_to_proto(found.by_subject, lab, region),
            horizon_time=None if found.horizon is None else to_timestamp(found.horizon),
        )
