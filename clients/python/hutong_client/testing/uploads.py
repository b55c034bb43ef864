"""Uploads of the test double, which are kept in memory by the contract's rules of order and repetition."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.upload_pb2 import FieldViolation, Tube, TubeBatch, Upload
from hutong.results.v1.upload_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadResultsRequest,
    UploadResultsResponse,
)
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceServicer

from hutong_client.errors import Precondition
from hutong_client.testing.failures import Failure, abort

_NOT_STARTED = Failure(grpc.StatusCode.INVALID_ARGUMENT, "UPLOAD_NOT_STARTED", fields={"start": "UPLOAD_NOT_STARTED"})


@dataclass
class _Upload:
    """One upload: its tubes as they were sent, and the state that GetUpload returns."""

    state: Upload
    tubes: list[bytes] = field(default_factory=list)


class Uploads(UploadServiceServicer):
    """Stores what laboratories send. A person is rejected only after `reject`, or if the report number is taken.

    Attributes:
        stored: the accepted persons' tubes, by laboratory and report number.
    """

    def __init__(self, labs: dict[str, Lab]) -> None:
        self._labs = labs
        self._uploads: dict[str, _Upload] = {}
        self._rejected: dict[str, FieldViolation] = {}
        self._lock = threading.Lock()
        self.stored: dict[tuple[str, str], Tube] = {}

    def reject(self, report_number: str, field: str, reason: str) -> None:
        """Reject a report from now on, with the path of a field and a name of `hutong.error.v1.ErrorReason`."""
        self._rejected[report_number] = FieldViolation(
            field=field, reason=reason, description=reason.lower().replace("_", " ")
        )

    def UploadResults(  # noqa: D102
        self, requests: Iterator[UploadResultsRequest], context: grpc.ServicerContext
    ) -> Iterator[UploadResultsResponse]:
        first = next(requests, None)
        if first is None or first.WhichOneof("frame") != "start":
            abort(context, _NOT_STARTED)
        start = first.start
        if start.lab not in self._labs:
            abort(context, _lab_unknown(start.lab))
        name = f"{start.lab}/uploads/{start.upload_id}"
        for request in requests:
            if request.WhichOneof("frame") == "start":
                abort(context, _NOT_STARTED)
            with self._lock:
                answer = self._take(name, start.lab, request.batch, context)
            yield answer

    def GetUpload(self, request: GetUploadRequest, context: grpc.ServicerContext) -> GetUploadResponse:  # noqa: D102
        with self._lock:
            found = self._uploads.get(request.name)
        if found is None:
            abort(context, Failure(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", {"resource": request.name}))
        return GetUploadResponse(upload=found.state)

    def _take(self, name: str, lab: str, batch: TubeBatch, context: grpc.ServicerContext) -> UploadResultsResponse:
        upload = self._uploads.get(name) or _Upload(Upload(name=name))
        committed = len(upload.tubes)
        if batch.offset > committed:
            metadata = {"committed_offset": str(committed), "offset": str(batch.offset)}
            abort(context, Failure(grpc.StatusCode.OUT_OF_RANGE, "UPLOAD_GAP", metadata))
        sent = [tube.SerializeToString(deterministic=True) for tube in batch.tubes]
        replayed = upload.tubes[batch.offset : batch.offset + len(sent)]
        if replayed != sent[: len(replayed)]:
            differing = next(at for at, (old, new) in enumerate(zip(replayed, sent, strict=False)) if old != new)
            abort(context, _upload_id_reused(batch.offset + differing))
        self._uploads[name] = upload
        upload.tubes += sent[len(replayed) :]
        response = UploadResultsResponse(committed_offset=len(upload.tubes))
        for index, tube in enumerate(batch.tubes):
            before = (response.accepted_count, response.duplicate_count, response.rejected_count)
            self._store(lab, index, tube, response)
            if index >= len(replayed):
                state = upload.state
                state.accepted_count += response.accepted_count - before[0]
                state.duplicate_count += response.duplicate_count - before[1]
                state.rejected_count += response.rejected_count - before[2]
        upload.state.committed_offset = len(upload.tubes)
        return response

    def _store(self, lab: str, index: int, tube: Tube, response: UploadResultsResponse) -> None:
        """Store each person of a tube, and count the persons that were accepted, were duplicates or were rejected."""
        for position, person in enumerate(tube.persons):
            alone = Tube()
            alone.CopyFrom(tube)
            del alone.persons[:]
            alone.persons.append(person)
            known = self.stored.get((lab, person.report_number))
            fault = self._rejected.get(person.report_number)
            if fault is None and known is not None and known != alone:
                path = f"persons[{position}].report_number"
                fault = FieldViolation(field=path, reason="CONFLICT", description="is stored with other content")
            if fault is not None:
                response.rejections.add(tube_index=index, person_index=position, violations=[fault])
                response.rejected_count += 1
            elif known is not None:
                response.duplicate_count += 1
            else:
                self.stored[lab, person.report_number] = alone
                response.accepted_count += 1


def _lab_unknown(lab: str) -> Failure:
    missing = Precondition("LAB_UNKNOWN", lab, "register it with LabService.CreateLab")
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, "LAB_UNKNOWN", {"lab": lab}, preconditions=[missing])


def _upload_id_reused(offset: int) -> Failure:
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT,
        "UPLOAD_ID_REUSED",
        {"offset": str(offset)},
        fields={"start.upload_id": "UPLOAD_ID_REUSED"},
    )
