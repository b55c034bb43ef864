"""Checks 22 to 25: errors, deadlines, retries, pages and watches."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from hutong.error.v1.error_reason_pb2 import ErrorReason
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse, ListLabsRequest, ListLabsResponse
from hutong.results.v1.results_service_pb2 import WatchResultsRequest, WatchResultsResponse
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest, ReportRefusalResponse
from hutong.verification.v1.verification_service_pb2 import VerifyRequest, VerifyResponse

from tests.support.conformance.adapter import Operation
from tests.support.conformance.case import LABS, REFUSALS, RESULTS, VERIFICATION, Case, failing
from tests.support.conformance.fake import Failure, failure
from tests.support.conformance.world import MANY_LABS, MANY_LABS_REGION
from tests.support.waiting import until

VERIFY, GET_LAB, LIST_LABS = f"{VERIFICATION}/Verify", f"{LABS}/GetLab", f"{LABS}/ListLabs"
WATCH, REPORT_REFUSAL = f"{RESULTS}/WatchResults", f"{REFUSALS}/ReportRefusal"
Code = grpc.StatusCode
NEW_REASON = "REASON_OF_NEXT_YEAR"
ASKED_SECONDS = 0.8
"""A delay that a service asks for, above the first waits of gRPC's retries."""
_CONTRACT = Path(__file__).parents[3] / "protos" / "hutong" / "error" / "v1" / "error_reason.proto"


def codes_of_reasons() -> dict[str, grpc.StatusCode]:
    """Return the status code of each reason, as its comment in the contract says."""
    found, comment = {}, ""
    for line in _CONTRACT.read_text("utf-8").splitlines():
        if match := re.match(r"  ERROR_REASON_(\w+) = \d+;", line):
            codes = [it for it in re.findall(r"[A-Z_]{5,}", comment) if it in Code.__members__]
            found[match[1]] = Code[codes[0]] if codes else Code.INVALID_ARGUMENT
            comment = ""
        elif line.startswith("  //"):
            comment += line
    del found["UNSPECIFIED"]
    assert len(found) == len(ErrorReason.keys()) - 1
    return found


async def typed_errors(case: Case) -> None:
    """Each reason gives its typed error; so do a reason that is new, a foreign one, and a status without details."""
    codes = codes_of_reasons()
    retried = {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED}

    async def verify(request: VerifyRequest) -> VerifyResponse:
        asked = request.document.number
        match asked.partition(" "):
            case ("bare", _, code):
                raise Failure(Code[code])
            case ("foreign", _, code):
                raise failure(Code[code], "RATE_LIMITED", domain="example.org")
            case (reason, _, _):
                raise failure(codes.get(reason, Code.FAILED_PRECONDITION), reason, retry_seconds=0.5)

    async with case.fake({VERIFY: verify}) as channel:

        async def ask(number: str) -> Any:
            return await failing(case.call(channel, VERIFY, {"document": {"number": number}}))

        for reason, error in zip(codes, await asyncio.gather(*map(ask, codes)), strict=True):
            assert (error.reason, error.code) == (reason, codes[reason].name), error
            assert error.metadata == {"field": "x"}
            assert error.retry_delay_ms == 500
            assert error.can_be_retried is (codes[reason] in retried), error
        new = await ask(NEW_REASON)
        assert (new.reason, new.code) == (NEW_REASON, "FAILED_PRECONDITION")
        for kind in ("bare", "foreign"):
            for code in sorted({code.name for code in codes.values()}):
                error = await ask(f"{kind} {code}")
                # Without a reason INTERNAL means that the connection was cut.
                assert error.code == code or (code == "INTERNAL" and error.code == "UNKNOWN"), error
                assert error.reason == "", error
        # A new reason does not hide the old details.
        [violation] = [error_details_pb2.BadRequest.FieldViolation(field="region", reason=NEW_REASON)]

        async def refuse(_request: VerifyRequest) -> VerifyResponse:
            raise Failure(Code.INVALID_ARGUMENT, [error_details_pb2.BadRequest(field_violations=[violation])])

    async with case.fake({VERIFY: refuse}) as channel:
        error = await ask_once(case, channel)
        assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["region"])


async def ask_once(case: Case, channel: str) -> Any:
    """Ask and return the error."""
    return await failing(case.call(channel, VERIFY, {"document": {"number": "1"}}))


async def deadlines_and_retries(case: Case) -> None:
    """A deadline ends a call; reads are repeated; a decision never is; a change is repeated under one request_id.

    A read is repeated after the delay that the service asks for, and not at all if the service forbids it.
    """
    counts = {"verify": 0, "silent": 0, "cancelled": 0, "asked": 0}
    tries: list[float] = []
    request_ids: list[str] = []

    async def verify(request: VerifyRequest) -> VerifyResponse:
        counts["verify"] += 1
        match request.document.number:
            case "unavailable":
                raise failure(Code.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            case "silent":
                counts["silent"] += 1
                try:
                    await asyncio.Event().wait()
                finally:
                    counts["cancelled"] += 1
        return VerifyResponse()

    async def get_lab(request: GetLabRequest) -> GetLabResponse:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) == 1:
            raise failure(Code.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        if len(tries) == 2:
            raise failure(Code.UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_seconds=ASKED_SECONDS)
        if request.name == "labs/lost":
            raise failure(Code.UNAVAILABLE, "NOT_FRESH_ENOUGH", retry_seconds=-1)
        return GetLabResponse(lab=Lab(name=request.name))

    async def report(request: ReportRefusalRequest) -> ReportRefusalResponse:
        request_ids.append(request.request_id)
        if len(request_ids) == 1:
            raise failure(Code.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        return ReportRefusalResponse()

    async with case.fake({VERIFY: verify, GET_LAB: get_lab, REPORT_REFUSAL: report}) as channel:
        found = await case.call(channel, GET_LAB, {"name": "labs/1"})
        assert found["lab"]["name"] == "labs/1"
        assert len(tries) == 3
        assert tries[2] - tries[1] >= ASKED_SECONDS, f"called again after {tries[2] - tries[1]:.2f} s"
        error = await failing(case.call(channel, GET_LAB, {"name": "labs/lost"}))
        assert (error.reason, len(tries)) == ("NOT_FRESH_ENOUGH", 4)
        # The first question opens the connection, so that the deadline of the second needs no time for a handshake.
        await case.call(channel, VERIFY, {"document": {"number": "answered"}})
        timeout_ms = 500 + round(4_000 * case.network.delay)

        async def ends_at_its_deadline() -> bool:
            """Ask a question that has no answer. On a busy machine its deadline may pass before it arrives."""
            counts["asked"] += 1
            error = await failing(case.call(channel, VERIFY, {"document": {"number": "silent"}}, timeout_ms=timeout_ms))
            assert error.code == "DEADLINE_EXCEEDED"
            return counts["silent"] > 0

        await until(ends_at_its_deadline)
        await until(lambda: counts["cancelled"] == counts["silent"])
        assert counts["silent"] <= counts["asked"]
        before = counts["verify"]
        error = await failing(case.call(channel, VERIFY, {"document": {"number": "unavailable"}}))
        assert (error.code, error.reason, error.can_be_retried) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", True)
        assert counts["verify"] == before + 1
        await case.call(channel, REPORT_REFUSAL, {})
        assert len(request_ids) == 2
        assert request_ids[0]
        assert request_ids[0] == request_ids[1]


async def pages(case: Case) -> None:
    """Every laboratory of many is listed once; a token is bound to its request; an empty page does not end a list."""

    async def read(channel: str, request: dict[str, Any]) -> list[list[str]]:
        operation = case.adapter.start("pages", channel=channel, method=LIST_LABS, request=request)
        return [[lab["name"] for lab in it["page"].get("labs", ())] for it in await operation.all("page")]

    async with case.province("results") as channel:
        listed = await read(channel, {"region": MANY_LABS_REGION})
        names = [name for page in listed for name in page]
        assert len(listed) > 1
        assert len(names) == len(set(names)) == MANY_LABS
        first = await case.call(channel, LIST_LABS, {"region": MANY_LABS_REGION, "pageSize": 3})
        token = first["nextPageToken"]
        for request in ({"region": "220500", "pageToken": token}, {"region": MANY_LABS_REGION, "pageToken": "garbage"}):
            error = await failing(case.call(channel, LIST_LABS, request))
            assert (error.code, error.reason, error.fields) == (
                "INVALID_ARGUMENT",
                "INVALID_PAGE_TOKEN",
                ["page_token"],
            )
    contents = {"": (["a", "b"], "1"), "1": ([], "2"), "2": ([], "3"), "3": (["c"], "")}

    async def list_labs(request: ListLabsRequest) -> ListLabsResponse:
        names, token = contents[request.page_token]
        return ListLabsResponse(labs=[Lab(name=name) for name in names], next_page_token=token)

    async with case.fake({LIST_LABS: list_labs}) as channel:
        assert await read(channel, {}) == [["a", "b"], [], [], ["c"]]


async def watching(case: Case) -> None:
    """A watch goes on after cuts without loss or double, after silence, and not from a cursor that is too old."""
    constants = await case.adapter.ask("constants")
    assert constants["silence_ms"] == 15_000
    await asyncio.gather(_watch_over_cuts(case), _watch_ended(case), _watch_silent(case))


async def _watch_over_cuts(case: Case) -> None:
    lab = await case.lab()
    async with (
        case.province("results") as uploads,
        case.network.link(case.world.province["results"]) as link,
        case.channel("", link) as channel,
    ):
        await case.upload(uploads, "u0", case.tubes(2))
        operation = _watch(case, channel, {"filter": {"labs": [lab]}})
        seen: list[str] = []
        for part in range(1, 4):
            while len(seen) < 2 * part:
                message = (await operation.event("message"))["message"]
                if "change" in message:
                    seen.append(message["change"]["reportNumber"])
            # The next message is cut in its middle.
            link.cut_at(link.counts[1] + 60, back=True)
            await case.upload(uploads, f"u{part}", case.tubes(2, 2 * part))
        await until(lambda: link.cut_count > 0)
        while len(seen) < 8:
            message = (await operation.event("message"))["message"]
            if "change" in message:
                seen.append(message["change"]["reportNumber"])
        await operation.cancel()
        await operation.result()
    assert seen == [f"R{case.first + index}" for index in range(8)]


async def _watch_ended(case: Case) -> None:
    """The first stream has one message and breaks. At the second one the cursor is too old."""
    cursors = []

    async def watch(request: WatchResultsRequest) -> AsyncIterator[WatchResultsResponse]:
        cursors.append(request.cursor)
        if len(cursors) > 1:
            raise failure(Code.OUT_OF_RANGE, "CURSOR_TOO_OLD")
        yield WatchResultsResponse(cursor="7")
        raise failure(Code.UNAVAILABLE, "SHUTTING_DOWN")

    async with case.fake({WATCH: watch}) as channel:
        operation = _watch(case, channel, {"cursor": "5"})
        await operation.event("message")
        error = await failing(operation.result())
        assert (error.code, error.reason) == ("OUT_OF_RANGE", "CURSOR_TOO_OLD")
        assert cursors == ["5", "7"]


async def _watch_silent(case: Case) -> None:
    cursors = []

    async def watch(request: WatchResultsRequest) -> AsyncIterator[WatchResultsResponse]:
        cursors.append(request.cursor)
        first = int(request.cursor or 0) + 1
        for number in range(first, first + 2):
            yield WatchResultsResponse(cursor=str(number))
        await asyncio.Event().wait()

    silence_ms = 400 + round(10_000 * case.network.delay)
    async with case.fake({WATCH: watch}) as channel:
        operation = _watch(case, channel, {}, silence_ms=silence_ms)
        seen = [(await operation.event("message"))["message"]["cursor"] for _ in range(4)]
        await operation.cancel()
        await operation.result()
    assert seen == ["1", "2", "3", "4"]
    # On a busy machine the first stream may be opened again before its first message.
    assert next(cursor for cursor in cursors if cursor) == "2"


def _watch(case: Case, channel: str, request: dict[str, Any], **fields: Any) -> Operation:
    return case.adapter.start("watch", channel=channel, method=WATCH, request=request, **fields)
