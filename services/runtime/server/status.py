"""Converts errors to google.rpc.Status. Only this module knows both forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong_texts import ENGLISH, Text, english, translate
from hutong_texts.language import accepted_language

from services.domain import errors
from services.domain.instant import to_duration
from services.runtime.call import current_call

DOMAIN = "hutong.org"
MAX_VIOLATIONS = 20
"""The most violations in one status: enough to correct a request at once. About as many fit into MAX_DETAIL_BYTES."""
MAX_DETAIL_BYTES = 4096
"""The limit for all details together. Python's gRPC sometimes fails above 8 KiB of trailers, so half of that is used.
"""
MAX_MESSAGE_BYTES = 500
"""The limit for the message. The message is sent twice: in the details, and in grpc-message, where percent-encoding
makes it up to three times as long."""
MAX_VALUE_BYTES = 200
"""The limit for one value of the metadata, one path of a field, or one description. All texts of this system are
shorter. The input of a caller that they quote may be longer."""
MAX_METADATA = 5
"""The limit for the number of metadata pairs. No reason documents more than two."""
_TAG = "zh-CN"
"""The locale of localized messages (BCP 47). No other language than Chinese is localized."""
INTERNAL_TEXT = english("the service failed; its log has the rest under the request id")

_CODES: dict[type[errors.HutongError], int] = {
    errors.InvalidArgument: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.AlreadyExists: code_pb2.ALREADY_EXISTS,
    errors.FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    errors.OutOfRange: code_pb2.OUT_OF_RANGE,
    errors.Unavailable: code_pb2.UNAVAILABLE,
    errors.ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
    errors.Unauthenticated: code_pb2.UNAUTHENTICATED,
}
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
DETAILS_KEY = "grpc-status-details-bin"

_log = structlog.get_logger(__name__)


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """Return the status of an error with its details.

    Any other error than a HutongError becomes INTERNAL with a fixed text. An unexpected error is logged here with its
    traceback. An expected error appears in the access log only.
    """
    if not isinstance(error, errors.HutongError):
        _log.error("unexpected error", request_id=request_id, exc_info=error)
        error = errors.HutongError("INTERNAL", INTERNAL_TEXT, metadata={"request_id": request_id})
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), code_pb2.INTERNAL)
    status = status_pb2.Status(code=code, message=_cut(error.message, MAX_MESSAGE_BYTES))
    metadata = {key: _cut(value) for key, value in list(error.metadata.items())[:MAX_METADATA]}
    _append(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if error.retry_after is not None:
        _append(status, error_details_pb2.RetryInfo(retry_delay=to_duration(error.retry_after)))
    if "resource" in metadata:
        resource = metadata["resource"]
        kind = resource.split("/", 1)[0]
        _append(status, error_details_pb2.ResourceInfo(resource_type=f"{DOMAIN}/{kind}", resource_name=resource))
    language = asked_language()
    if language != ENGLISH:
        _append(status, error_details_pb2.LocalizedMessage(locale=_TAG, message=_localize(error, language)))
    _append_fitting(status, error.violations, _violation_details(error, language))
    return status


def append_localized(status: status_pb2.Status, text: Text) -> None:
    """Add a text in the language that the caller of the current call reads. Nothing is added for English."""
    language = asked_language()
    if language != ENGLISH:
        _append(status, error_details_pb2.LocalizedMessage(locale=_TAG, message=translate(text, language)))


def asked_language() -> str:
    """Return the language in which the caller of the current call reads errors."""
    call = current_call.get()
    if call is None or not call.accept_language:
        return ENGLISH
    return accepted_language(call.accept_language)


def _localize(error: errors.HutongError, language: str) -> str:
    """Return the text of an error in a language. Violations that no field of the status translates are added to it."""
    message = translate(error.message, language)
    if isinstance(error, errors.FailedPrecondition | errors.ResourceExhausted):
        described = dict.fromkeys(translate(violation.description, language) for violation in error.violations)
        message = "；".join([message, *(it for it in described if it not in message)])
    return _cut(message, MAX_MESSAGE_BYTES)


def grpc_code(status: status_pb2.Status) -> grpc.StatusCode:
    """Return the gRPC code of a status."""
    return _GRPC_CODES[status.code]


def _cut(text: str, limit: int = MAX_VALUE_BYTES) -> str:
    """Return the text, cut to at most `limit` bytes."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def _append(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _append_fitting(
    status: status_pb2.Status,
    violations: tuple[errors.Violation, ...],
    build: Callable[[list[errors.Violation]], Message],
) -> None:
    """Add as many of the first 20 violations as fit into MAX_DETAIL_BYTES. At least one violation always fits."""
    shown = list(violations[:MAX_VIOLATIONS])
    while shown:
        detail = build(shown)
        if status.ByteSize() + detail.ByteSize() + 64 <= MAX_DETAIL_BYTES:
            _append(status, detail)
            return
        shown.pop()


def _violation_details(error: errors.HutongError, language: str) -> Callable[[list[errors.Violation]], Message]:
    if isinstance(error, errors.FailedPrecondition):
        return _precondition_failure
    return _quota_failure if isinstance(error, errors.ResourceExhausted) else partial(_bad_request, language)


def _quota_failure(violations: list[errors.Violation]) -> error_details_pb2.QuotaFailure:
    found = [
        error_details_pb2.QuotaFailure.Violation(
            subject=_cut(violation.subject), description=_cut(violation.description)
        )
        for violation in violations
    ]
    return error_details_pb2.QuotaFailure(violations=found)


def _bad_request(language: str, violations: list[errors.Violation]) -> error_details_pb2.BadRequest:
    fields = [
        error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field),
            reason=violation.reason,
            description=_cut(violation.description),
            localized_message=_localized(violation, language),
        )
        for violation in violations
    ]
    return error_details_pb2.BadRequest(field_violations=fields)


def _localized(violation: errors.Violation, language: str) -> error_details_pb2.LocalizedMessage | None:
    if language == ENGLISH:
        return None
    message = _cut(translate(violation.description, language))
    return error_details_pb2.LocalizedMessage(locale=_TAG, message=message)


def _precondition_failure(violations: list[errors.Violation]) -> error_details_pb2.PreconditionFailure:
    found = [
        error_details_pb2.PreconditionFailure.Violation(
            type=violation.reason,
            subject=_cut(violation.subject or violation.field),
            description=_cut(violation.description),
        )
        for violation in violations
    ]
    return error_details_pb2.PreconditionFailure(violations=found)


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call to another service, or an empty one if it carries none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return info_from_status(status_pb2.Status.FromString(value))
    return error_details_pb2.ErrorInfo()


def info_from_status(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo among a status's details, or an empty one if there is none."""
    info = error_details_pb2.ErrorInfo()
    any(detail.Unpack(info) for detail in status.details)
    return info
