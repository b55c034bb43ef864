"""Authentication at the nation: nodes of provinces with its pepper and, over TLS, a certificate of their own."""

from __future__ import annotations

import uuid
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.exchange.v1 import exchange_service_pb2, replica_pb2
from hutong.exchange.v1.exchange_service_pb2 import (
    LookupSubjectsRequest,
    ReplicateBatch,
    ReplicateCheckpoint,
    ReplicateRequest,
    ReplicateStart,
    SubscribeSubjectsRequest,
    WatchNotificationsRequest,
)
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.exchange.v1.node_pb2 import NodeBelow, WriterPosition
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_RETIRED

from services.domain.instant import MINUTE, to_timestamp
from services.results.exchange.convert.links import LINK_LENGTH
from services.results.exchange.convert.results import fill_replica
from services.results.exchange.model import MAX_CHANGES, Replica
from services.results.exchange.tables import nodes
from services.results.main import open_results
from services.results.records.model import ACTIVE, NEGATIVE, StoredResult
from services.results.timing import ResultsTiming
from services.runtime.client.channels import open_channel
from services.runtime.clock import SystemClock
from services.runtime.configuration.variables import BadSetting
from services.storage.pepper_marks import pepper_mark
from tests.support.certificates import Authority, spiffe
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, failure_of
from tests.support.results.country import HENAN, JILIN, Country, open_member
from tests.support.results.factories import NOW, PEPPER, REPORTED, USCC, subject_key
from tests.support.servers import serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS, until

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def start(region: str = JILIN, **fields: object) -> ReplicateRequest:
    """Return a valid first frame, with some fields replaced."""
    values: dict[str, object] = {
        "node": f"nodes/{region}",
        "log_id": str(uuid.uuid4()),
        "key_version": PEPPER.version,
        "pepper_mark": pepper_mark(PEPPER),
        "send_time": to_timestamp(SystemClock().now()),
    }
    return ReplicateRequest(start=ReplicateStart(**(values | fields)))  # type: ignore[arg-type]


def change(source_node: str = JILIN, **fields: object) -> replica_pb2.ReplicatedChange:
    """Return a valid result of a node, with some fields replaced."""
    result = StoredResult(
        subject_key(1), REPORTED, USCC, "R1", 1, ACTIVE, "", "", "T1", 1, 2, 1, NEGATIVE, "220502", "", REPORTED,
        None, None, REPORTED, "", NOW, None, source_node,
    )  # fmt: skip
    message = replica_pb2.ReplicatedChange()
    fill_replica(message.result, Replica(result._replace(**fields), 1, b"h" * 16, b""))  # type: ignore[arg-type]
    return message


def batch(*changes: replica_pb2.ReplicatedChange, **fields: int) -> ReplicateRequest:
    """Return a batch with the first commit of a writer."""
    values = {"writer": 1, "offset": 0, "next_offset": 1} | fields
    return ReplicateRequest(batch=ReplicateBatch(**values, changes=changes))  # type: ignore[arg-type]


async def ending(stub: ExchangeServiceStub, *frames: ReplicateRequest) -> tuple[grpc.StatusCode, str]:
    """Return the code with which a stream of these frames ends, and the reason if it failed."""
    try:
        async for _ in stub.Replicate(iter(frames), timeout=TIMEOUT_SECONDS):
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error_info(error).reason
    return grpc.StatusCode.OK, ""


def link(**fields: object) -> replica_pb2.ReplicatedChange:
    """Return a valid link of two documents, with some fields replaced."""
    values: dict[str, object] = {
        "name": f"links/{'a' * (LINK_LENGTH - len('links/'))}",
        "subject_key": subject_key(1),
        "linked_subject_key": subject_key(2),
        "create_time": to_timestamp(NOW),
    }
    return replica_pb2.ReplicatedChange(link=replica_pb2.ReplicatedLink(**(values | fields)))  # type: ignore[arg-type]


def missing_report(**fields: object) -> replica_pb2.ReplicatedChange:
    """Return a valid missing report, with some fields replaced."""
    values: dict[str, object] = {
        "lab": f"labs/{USCC}",
        "report_number": "R1",
        "create_time": to_timestamp(NOW),
        "raising_node": f"nodes/{JILIN}",
    }
    missing = replica_pb2.ReplicatedMissingReport(**(values | fields))  # type: ignore[arg-type]
    return replica_pb2.ReplicatedChange(missing_report=missing)


NO_TIME = Timestamp(seconds=-(2**63))
"""A time that protobuf permits nobody to state, and that no database can store."""
BEFORE_ANY = ReplicateRequest(checkpoint=ReplicateCheckpoint(as_of_time=to_timestamp(0)))
RETIRED_AT_NO_TIME = NodeBelow(node="nodes/220100", state=SOURCE_STATE_RETIRED, retire_time=NO_TIME)
WRONG_STREAMS: dict[str, tuple[list[ReplicateRequest], tuple[grpc.StatusCode, str]]] = {
    "right": ([start(), batch(change())], (grpc.StatusCode.OK, "")),
    "another pepper": ([start(pepper_mark=b"x" * 16)], (PRECONDITION, "PEPPER_MISMATCH")),
    "another version of the pepper": ([start(key_version=2)], (PRECONDITION, "PEPPER_MISMATCH")),
    "the nation itself": ([start("000000")], (PRECONDITION, "NOT_AN_UPSTREAM")),
    "no region": ([start("999999")], (PRECONDITION, "NOT_AN_UPSTREAM")),
    "no start": ([batch(change())], (INVALID, "UPLOAD_NOT_STARTED")),
    "two starts": ([start(), start()], (INVALID, "UPLOAD_NOT_STARTED")),
    "no frame": ([start(), ReplicateRequest()], (INVALID, "INVALID_FIELD")),
    "a gap": ([start(), batch(change(), offset=3, next_offset=4)], (grpc.StatusCode.OUT_OF_RANGE, "UPLOAD_GAP")),
    "another's result": ([start(), batch(change(HENAN))], (INVALID, "INVALID_FIELD")),
    "too much": ([start(), batch(*[change()] * (MAX_CHANGES + 1))], (INVALID, "BATCH_TOO_LARGE")),
    "nothing of a kind": ([start(), batch(replica_pb2.ReplicatedChange())], (INVALID, "INVALID_FIELD")),
    "no laboratory": ([start(), batch(change(lab=""))], (INVALID, "INVALID_FIELD")),
    "no subject": ([start(), batch(change(subject_key=b"short"))], (INVALID, "INVALID_FIELD")),
    "no report time": ([start(), batch(change(report_time=None))], (INVALID, "INVALID_FIELD")),
    "a line of COPY in a region": ([start(), batch(change(sample_region="220502\t1\n"))], (INVALID, "INVALID_FIELD")),
    "no outcome of ours": ([start(), batch(change(outcome=99))], (INVALID, "INVALID_FIELD")),
    "a time of no calendar": ([start(), batch(change(receive_time=10**18))], (INVALID, "INVALID_FIELD")),
    "up to date before there were nodes": ([start(), BEFORE_ANY], (INVALID, "INVALID_FIELD")),
    "a node below that was retired at no time": (
        [start(), ReplicateRequest(checkpoint=ReplicateCheckpoint(nodes_below=[RETIRED_AT_NO_TIME]))],
        (INVALID, "INVALID_FIELD"),
    ),
    "links and missing reports": ([start(), batch(link(), missing_report())], (grpc.StatusCode.OK, "")),
    "a removed commit of no time": ([start(removed=[WriterPosition(writer=1, offset=1, commit_time=NO_TIME)])],
                                    (INVALID, "INVALID_FIELD")),
    "a link of no time": ([start(), batch(link(create_time=NO_TIME))], (INVALID, "INVALID_FIELD")),
    "a link that ended at no time": ([start(), batch(link(unlink_time=NO_TIME))], (INVALID, "INVALID_FIELD")),
    "a missing report closed at no time": ([start(), batch(missing_report(close_time=NO_TIME))],
                                           (INVALID, "INVALID_FIELD")),
    "an end before its start": ([start(), batch(offset=0, next_offset=0), batch(offset=2, next_offset=1)],
                                (INVALID, "INVALID_FIELD")),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_STREAMS)
async def test_a_stream_that_no_node_sends_ends_with_its_reason(country: Country, wrong: str) -> None:
    frames, expected = WRONG_STREAMS[wrong]
    assert await ending(country.nation.exchange, *frames) == expected


async def test_a_node_serves_only_nodes_in_its_region(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    async with open_member(tmp_path / "henan", sqlite_url("results"), HENAN) as henan:
        assert await ending(henan.exchange, start()) == (PRECONDITION, "NOT_AN_UPSTREAM")
        look_up = LookupSubjectsRequest(node=f"nodes/{JILIN}", subject_keys=[b"k" * 16])
        assert (await failure_of(henan.exchange.LookupSubjects(look_up)))[:2] == (PRECONDITION, "NOT_AN_UPSTREAM")
        subscription = SubscribeSubjectsRequest(node=f"nodes/{JILIN}", subject_keys=[b"k" * 16])
        assert (await failure_of(henan.exchange.SubscribeSubjects(subscription)))[:2] == (
            PRECONDITION,
            "NOT_AN_UPSTREAM",
        )


async def test_a_node_in_the_wrong_place_of_the_tree_does_not_start(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A node does not start below another province, below a city, below itself, or beside the node that covers it."""
    patient = ResultsTiming(upstream_check=TIMEOUT_SECONDS)
    async with (
        open_member(tmp_path / "nation", sqlite_url("results"), "000000") as nation,
        open_member(tmp_path / "henan", sqlite_url("results"), HENAN, upstream=nation.address) as henan,
        open_member(tmp_path / "city", sqlite_url("results"), "410100", upstream=henan.address) as city,
    ):
        await until(lambda: bool(nation.rows(nodes, "node")) and bool(henan.rows(nodes, "node")))
        for region, above, why in (
            (JILIN, henan, f"nodes/{JILIN} does not lie below nodes/{HENAN}"),
            (HENAN, henan, f"nodes/{HENAN} does not lie below nodes/{HENAN}"),
            (HENAN, city, f"nodes/{HENAN} does not lie below nodes/410100"),
            ("410300", city, "nodes/410300 does not lie below nodes/410100"),
            ("410300", nation, f"nodes/{HENAN} is between nodes/410300 and nodes/000000"),
            ("410102", henan, f"nodes/410100 is between nodes/410102 and nodes/{HENAN}"),
        ):
            with pytest.raises(BadSetting) as caught:
                async with open_member(
                    tmp_path / "below", sqlite_url("results"), region, timing=patient, upstream=above.address
                ):
                    pass
            assert str(caught.value) == (
                f"HUTONG_UPSTREAM does not serve nodes/{region}: {why}; "
                "give the address of the deepest node that covers the region"
            )
    async with open_member(tmp_path / "alone", sqlite_url("results"), JILIN, upstream=henan.address):
        pass


async def test_a_wrong_clock_is_reported_and_not_refused(country: Country) -> None:
    fast = to_timestamp(SystemClock().now() + 2 * MINUTE)
    assert await ending(country.nation.exchange, start(send_time=fast), batch(change())) == (grpc.StatusCode.OK, "")
    (node,) = await country.nation.nodes()
    assert abs(node.clock_skew.ToMicroseconds() - 2 * MINUTE) < MINUTE


async def test_a_stolen_certificate_speaks_for_its_own_node_alone(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """With Henan's certificate a node cannot replicate, look up, subscribe or watch as Jilin."""
    authority = Authority(tmp_path, "authority")
    own = authority.sign("own", spiffe(f"nodes/{HENAN}"))
    files = {
        "tls_certificate_file": str(own.certificate),
        "tls_key_file": str(own.key),
        "tls_server_ca_file": str(authority.root.certificate),
        "tls_client_ca_file": str(authority.root.certificate),
        "tls_node_ca_file": str(authority.root.certificate),
    }
    settings = settings_for(tmp_path, results_database_url=sqlite_url("results"), **files)
    async with serving(await open_results(settings), settings) as address, open_channel(address, settings) as channel:
        stub = ExchangeServiceStub(channel)
        assert await ending(stub, start(HENAN), batch(change(HENAN))) == (grpc.StatusCode.OK, "")
        denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
        assert await ending(stub, start(JILIN)) == denied
        keys = [b"k" * 16]
        jilin = f"nodes/{JILIN}"
        assert (await failure_of(stub.LookupSubjects(LookupSubjectsRequest(node=jilin, subject_keys=keys))))[
            :2
        ] == denied
        assert (await failure_of(stub.SubscribeSubjects(SubscribeSubjectsRequest(node=jilin, subject_keys=keys))))[
            :2
        ] == denied
        watch = stub.WatchNotifications(
            WatchNotificationsRequest(node=jilin, key_version=1, pepper_mark=pepper_mark(PEPPER))
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert (caught.value.code(), error_info(caught.value).reason) == denied
        own_look_up = exchange_service_pb2.LookupSubjectsRequest(node=f"nodes/{HENAN}", subject_keys=keys)
        assert len((await stub.LookupSubjects(own_look_up)).subjects) == 1
