"""Notifications at the nation: which nodes may subscribe and watch, from which cursor, and how a watch ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.exchange.v1.exchange_service_pb2 import SubscribeSubjectsRequest, WatchNotificationsRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest

from services.domain.instant import HOUR, to_timestamp
from services.results.exchange.tables import notifications, subscriptions
from services.storage.pepper_marks import pepper_mark
from tests.support.databases import MakeUrl
from tests.support.errors import failure_of
from tests.support.results.country import HENAN, JILIN, Country, open_member
from tests.support.results.factories import LAB_NAME, PEPPER, POSITIVE, make_document, make_tubes, subject_key
from tests.support.waiting import until


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return how a call fails, after all of its messages."""
    return (await failure_of(end(call)))[:2]


async def end(call: Any) -> None:
    """Read a call to its end."""
    if not isinstance(call, grpc.aio.UnaryStreamCall):
        await call
        return
    while await call.read() is not grpc.aio.EOF:
        continue


async def test_a_caller_that_is_no_province_is_refused(country: Country) -> None:
    """The caller is the nation itself, of an unknown region, has another pepper, or asks a node that is no nation."""
    henan = await country.join(HENAN)
    nation, province = country.nation.exchange, ExchangeServiceStub(henan.node.channel)
    keys, mark = [subject_key(0)], pepper_mark(PEPPER)
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    for region in ("000000", "999999"):
        node = f"nodes/{region}"
        subscription = nation.SubscribeSubjects(SubscribeSubjectsRequest(node=node, subject_keys=keys))
        assert await refusal(subscription) == (precondition, "NOT_AN_UPSTREAM")
        watch = nation.WatchNotifications(WatchNotificationsRequest(node=node, key_version=1, pepper_mark=mark))
        assert await refusal(watch) == (precondition, "NOT_AN_UPSTREAM")
    jilin = "nodes/220000"
    watch = nation.WatchNotifications(WatchNotificationsRequest(node=jilin, key_version=1, pepper_mark=b"\0" * 16))
    assert await refusal(watch) == (precondition, "PEPPER_MISMATCH")
    no_time = Timestamp(seconds=2**62)
    asked = WatchNotificationsRequest(node=jilin, key_version=1, pepper_mark=mark, commit_time=no_time)
    assert (await refusal(nation.WatchNotifications(asked)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    watch = province.WatchNotifications(WatchNotificationsRequest(node=jilin, key_version=1, pepper_mark=mark))
    assert await refusal(watch) == (precondition, "NOT_AN_UPSTREAM")
    assert country.nation.rows(subscriptions, "node") == []


async def test_a_cursor_from_elsewhere_is_too_old(country: Country) -> None:
    """One cursor is beyond the newest notification. The others have a known number with another commit time."""
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload(make_tubes(1))
    await until(lambda: len(country.nation.results()) == 1)
    henan = await country.join(HENAN)
    await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(0)))
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="mixed up")
    )
    await until(lambda: len(country.nation.rows(notifications, "number")) == 2)
    ((_, commit_time),) = country.nation.rows(notifications, "number", "commit_time")[1:]
    mark = pepper_mark(PEPPER)
    for cursor, at in ((3, commit_time), (2, commit_time - HOUR), (2, None)):
        request = WatchNotificationsRequest(node="nodes/410000", cursor=cursor, key_version=1, pepper_mark=mark)
        if at is not None:
            request.commit_time.CopyFrom(to_timestamp(at))
        call = country.nation.exchange.WatchNotifications(request)
        assert await refusal(call) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TOO_OLD")


async def test_a_watch_ends_when_the_nation_is_stopped(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    async with open_member(tmp_path / "nation", sqlite_url("results"), "000000") as nation:
        request = WatchNotificationsRequest(node="nodes/410000", key_version=1, pepper_mark=pepper_mark(PEPPER))
        call = nation.exchange.WatchNotifications(request)
        first = await call.read()
        assert (first.cursor, len(first.changes)) == (0, 0)
        nation.node.server.service.drain.begin()
        assert await refusal(call) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
