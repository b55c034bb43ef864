"""Certificates that are taken away, expire or are replaced while connections stand, by a real server."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.domain.instant import HOUR
from services.runtime.call import current_call
from services.runtime.client.channels import Connector
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.clock import FixedClock, SystemClock
from services.runtime.server.health.access import MAX_WATCHES
from services.runtime.server.health.rate import BURST_SECONDS, PER_CONNECTION
from services.runtime.server.server import RunningServer, start
from services.runtime.server.timing import ServerTiming
from tests.support.certificates import Authority, Certificate, spiffe
from tests.support.errors import error_info, failure_of
from tests.support.fake_service import answer, pretend
from tests.support.replaced import replace_file
from tests.support.results.factories import LAB_NAME, OTHER_USCC
from tests.support.resumed_sessions import Answered, ResumingCaller
from tests.support.servers import new_channel, settings_for
from tests.support.waiting import TIMEOUT_SECONDS, until

FLOOD = round(PER_CONNECTION * BURST_SECONDS)
"""Calls of health that one connection may make at once."""
QUICK = ServerTiming(reload=0.02, recheck=0.02)
GET_LAB = GetLabRequest(name=LAB_NAME)
UNKNOWN = (grpc.StatusCode.UNAUTHENTICATED, "NOT_AUTHENTICATED")


@dataclass(slots=True)
class Node:
    """A server with mutual TLS, its clock and its files."""

    directory: Path
    clients: Authority
    server: RunningServer
    clock: FixedClock
    certificate: Certificate
    deny_list: Path
    callers: list[str]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def connect(self, shown: Certificate, authority: Authority | None = None) -> grpc.aio.Channel:
        """Open a connection of its own that trusts an authority, by default the one that signed the server's."""
        roots = (authority or self.clients).root.certificate.read_bytes()
        credentials = grpc.ssl_channel_credentials(roots, *shown.pem())
        return new_channel(self.address, credentials)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    clients = Authority(tmp_path, "clients")
    own = clients.sign("server", spiffe("services/verification"))
    deny_list = tmp_path / "denied.txt"
    deny_list.write_text("# nobody\n")
    callers: list[str] = []

    async def get_lab(request: GetLabRequest) -> GetLabResponse:
        call = current_call.get()
        assert call is not None
        callers.append(call.caller.name)
        return await answer(request)

    settings = settings_for(
        tmp_path,
        tls_certificate_file=str(own.certificate),
        tls_key_file=str(own.key),
        tls_client_ca_file=str(clients.root.certificate),
        deny_file=str(deny_list),
    )
    clock = FixedClock(SystemClock().now())
    server = await start(pretend(get_lab), "127.0.0.1:0", settings, QUICK, clock)
    yield Node(tmp_path, clients, server, clock, own, deny_list, callers)
    await server.stop(0)


async def upload(channel: grpc.aio.Channel, lab: str) -> grpc.aio.StreamStreamCall:
    """Open a stream and read its first response."""
    stream = UploadServiceStub(channel).UploadResults(timeout=TIMEOUT_SECONDS)
    await stream.write(UploadResultsRequest(start=UploadStart(lab=lab, upload_id="day")))
    assert (await stream.read()).committed_offset == 1
    return stream


def serial_of(shown: Certificate) -> str:
    return f"{x509.load_pem_x509_certificate(shown.certificate.read_bytes()).serial_number:x}"


@pytest.mark.parametrize("by", ["serial", "name"])
async def test_a_denied_caller_is_out_on_an_open_connection(by: str, node: Node) -> None:
    """The open streams of the denied caller end and its next call is refused.

    Another caller's streams and calls go on.
    """
    denied, other = node.clients.sign("lab", spiffe(LAB_NAME)), f"labs/{OTHER_USCC}"
    async with node.connect(denied) as channel, node.connect(node.clients.sign("lab2", spiffe(other))) as other_channel:
        stream, other_stream = await upload(channel, LAB_NAME), await upload(other_channel, other)
        entry = serial_of(denied) if by == "serial" else spiffe(LAB_NAME)
        replace_file(node.deny_list, f"# stolen\n{entry}  # on Monday\n")
        with capture_logs() as logs:
            assert (await failure_of(stream.read()))[:2] == UNKNOWN
            assert (await failure_of(LabServiceStub(channel).GetLab(GET_LAB)))[:2] == UNKNOWN
            # A call is logged only after its answer has left.
            await until(lambda: sum(line["event"] == "call" for line in logs) == 2)
        calls = [line for line in logs if line["event"] == "call"]
        assert [(line["caller"], line["reason"]) for line in calls] == [(LAB_NAME, "NOT_AUTHENTICATED")] * 2
        await other_stream.write(UploadResultsRequest())
        assert (await other_stream.read()).committed_offset == 2
        await LabServiceStub(other_channel).GetLab(GET_LAB)


async def test_health_is_closed_to_a_denied_certificate_and_its_watches_are_limited(node: Node) -> None:
    """A certificate that names no caller may ask too. Those of other certificates go on."""
    nameless, other = node.clients.sign("balancer"), node.clients.sign("other")
    asked = health_pb2.HealthCheckRequest()
    async with node.connect(nameless) as channel, node.connect(other) as other_channel:
        health, other_health = health_pb2_grpc.HealthStub(channel), health_pb2_grpc.HealthStub(other_channel)
        watches = [health.Watch(asked) for _ in range(MAX_WATCHES)]
        for watch in watches:
            await watch.read()
        assert (await failure_of(health.Watch(asked).read()))[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        watches.pop().cancel()
        other_watch = other_health.Watch(asked)
        await other_watch.read()
        replace_file(node.deny_list, f"{serial_of(nameless)}\n")
        for watch in watches:
            assert (await failure_of(watch.read()))[:2] == UNKNOWN
        assert (await failure_of(health.Check(asked)))[:2] == UNKNOWN
        assert (await other_health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
        assert not other_watch.done()


async def test_a_flood_of_health_on_one_connection_is_refused_before_any_work(node: Node) -> None:
    """The first calls are answered, the others end as calls beyond the process's load do. Others are answered."""
    refused = {"rate_of": "connection"}
    before = REGISTRY.get_sample_value("hutong_health_refusals_total", refused) or 0.0
    flooder, probe = node.clients.sign("balancer"), node.clients.sign("probe", spiffe("operators/1"))
    asked = health_pb2.HealthCheckRequest()
    async with node.connect(flooder) as channel, node.connect(probe) as other_channel:
        health, other_health = health_pb2_grpc.HealthStub(channel), health_pb2_grpc.HealthStub(other_channel)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            # A slow machine refills the connection's burst meanwhile, but at most as fast as the calls come.
            ends = await asyncio.gather(*(health.Check(asked) for _ in range(20 * FLOOD)), return_exceptions=True)
        errors = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
        assert (await other_health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
        assert (await other_health.Watch(asked).read()).status == health_pb2.HealthCheckResponse.SERVING
    assert len(ends) - len(errors) >= FLOOD
    assert {(error.code(), error_info(error).reason) for error in errors} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    }
    assert (REGISTRY.get_sample_value("hutong_health_refusals_total", refused) or 0.0) - before == len(errors)


async def test_a_stream_ends_when_its_certificate_expires(node: Node) -> None:
    """The connection itself stands, and gRPC does not look at the certificate again."""
    async with node.connect(node.clients.sign("lab", spiffe(LAB_NAME))) as channel:
        stream = await upload(channel, LAB_NAME)
        node.clock.advance(25 * HOUR)
        assert (await failure_of(stream.read()))[:2] == UNKNOWN
        assert (await failure_of(LabServiceStub(channel).GetLab(GET_LAB)))[:2] == UNKNOWN


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_outlives_neither_certificate_nor_authority(newest: ssl.TLSVersion, node: Node) -> None:
    """A server of gRPC resumes sessions for hours. The certificate in the session is checked at each call all the same.

    A client that has the session needs no key, but it gets nothing that the certificate would not get.
    """
    shown, authorities = node.clients.sign("lab", spiffe(LAB_NAME)), node.clients.root.certificate
    caller = ResumingCaller(node.address, shown, authorities, newest)

    async def call(session: ssl.SSLSession | None = None) -> Answered:
        return await asyncio.to_thread(caller.call, "/hutong.results.v1.LabService/GetLab", session)

    async def resume(status: grpc.StatusCode) -> bool:
        answered = await call(first.session)
        assert answered.is_resumed
        return answered.status == status.value[0]

    first = await call()
    # The request has no name.
    known = grpc.StatusCode.INVALID_ARGUMENT
    assert first.status == known.value[0]
    assert await resume(known)
    replace_file(node.deny_list, serial_of(shown))
    await until(lambda: resume(grpc.StatusCode.UNAUTHENTICATED))
    replace_file(node.deny_list, "")
    await until(lambda: resume(known))
    start = node.clock.now()
    node.clock.advance(25 * HOUR)
    assert await resume(grpc.StatusCode.UNAUTHENTICATED)
    node.clock.advance(start - node.clock.now())
    assert await resume(known)
    (elsewhere := node.directory / "elsewhere").mkdir()
    replace_file(authorities, Authority(elsewhere, "clients").root.certificate.read_bytes())
    await node.server.reload()
    ended = await call(first.session)
    assert (ended.status, ended.is_resumed) == (None, False)


async def test_a_deny_list_that_cannot_be_read_leaves_the_former_one(node: Node) -> None:
    """The failure is counted in a metric, so that operators notice it."""
    denied = node.clients.sign("lab", spiffe(LAB_NAME))
    replace_file(node.deny_list, spiffe(LAB_NAME))
    async with node.connect(denied) as channel:
        labs = LabServiceStub(channel)

        async def is_out() -> bool:
            return await labs.GetLab(GET_LAB).code() is grpc.StatusCode.UNAUTHENTICATED

        await until(is_out)
        before = failed_reloads("HUTONG_DENY_FILE")
        replace_file(node.deny_list, "everybody from the north\n")
        await until(lambda: failed_reloads("HUTONG_DENY_FILE") > before)
        assert await is_out()
        replace_file(node.deny_list, "")
        await until(lambda: _answers(labs))


async def _answers(labs: LabServiceStub) -> bool:
    return await labs.GetLab(GET_LAB).code() is grpc.StatusCode.OK


async def test_keys_and_authorities_are_replaced_without_a_restart(node: Node) -> None:
    """A connection that stands goes on. A key that is not the certificate's changes nothing."""
    newer = node.directory / "newer"
    newer.mkdir()
    authority = Authority(newer, "clients")
    own, caller = authority.sign("server", spiffe("services/verification")), authority.sign("lab", spiffe(LAB_NAME))
    async with node.connect(node.clients.sign("lab", spiffe(LAB_NAME))) as standing:
        await LabServiceStub(standing).GetLab(GET_LAB)
        replace_file(node.certificate.certificate, own.certificate.read_bytes())
        await node.server.reload()
        async with node.connect(node.clients.sign("again", spiffe(LAB_NAME))) as channel:
            await LabServiceStub(channel).GetLab(GET_LAB)
        replace_file(node.certificate.key, own.key.read_bytes())
        replace_file(node.clients.root.certificate, authority.root.certificate.read_bytes())
        await node.server.reload()
        async with node.connect(caller, authority) as channel:
            await LabServiceStub(channel).GetLab(GET_LAB, timeout=TIMEOUT_SECONDS)
        refused = node.connect(node.clients.sign("former", spiffe(LAB_NAME)), authority)
        async with refused as channel:
            call = LabServiceStub(channel).GetLab(GET_LAB, timeout=TIMEOUT_SECONDS)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        await LabServiceStub(standing).GetLab(GET_LAB)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike the folders of tests."""
    with tempfile.TemporaryDirectory(prefix="hutong-test-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


def failed_reloads(setting: str) -> float:
    return REGISTRY.get_sample_value("hutong_reload_failures_total", {"setting": setting}) or 0.0


async def test_files_that_others_can_use_are_not_reloaded(tmp_path: Path, open_folder: Path) -> None:
    """A key that others can read, and rules that others can change. The former ones stay until the modes are right."""
    clients = Authority(open_folder, "clients")
    own, newer = clients.sign("server", spiffe("services/verification")), clients.sign("newer", spiffe("operators/1"))
    rules = {name: open_folder / name for name in ("deny_file", "access_file", "tls_node_ca_file")}
    rules["deny_file"].write_text("")
    rules["access_file"].write_text("")
    shutil.copy(clients.root.certificate, rules["tls_node_ca_file"])
    settings = settings_for(
        tmp_path,
        tls_certificate_file=str(own.certificate),
        tls_key_file=str(own.key),
        tls_client_ca_file=str(clients.root.certificate),
        **{name: str(file) for name, file in rules.items()},
    )
    server = await start(pretend(answer), "127.0.0.1:0", settings, ServerTiming(reload=3_600))
    connector = Connector(f"127.0.0.1:{server.port}", settings, file_check_seconds=0)
    usable = connector.revision()
    names = ("TLS_CERTIFICATE_FILE", "DENY_FILE", "ACCESS_FILE", "TLS_CLIENT_CA_FILE")
    before = {name: failed_reloads(f"HUTONG_{name}") for name in names}
    shutil.copy(newer.key, own.key)
    shutil.copy(newer.certificate, own.certificate)
    own.key.chmod(0o644)
    for file in rules.values():
        file.chmod(0o646)
    with capture_logs() as logs:
        await server.reload()
    found = {line["setting"]: line["text"] for line in logs if line["log_level"] == "error"}
    assert f"every user of this machine can use {own.key}: chmod o-rwx" in found["HUTONG_TLS_CERTIFICATE_FILE"]
    assert f"every user of this machine can change {rules['deny_file']}" in found["HUTONG_DENY_FILE"]
    assert {name: failed_reloads(f"HUTONG_{name}") - before[name] for name in names} == dict.fromkeys(names, 1)
    assert connector.revision() == usable
    own.key.chmod(0o600)
    for file in rules.values():
        file.chmod(0o644)
    with capture_logs() as logs:
        await server.reload()
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert connector.revision() != usable
    usable = connector.revision()
    own.certificate.parent.chmod(0o777)
    shutil.copy(newer.certificate, own.certificate)
    assert connector.revision() == usable
    own.certificate.parent.chmod(0o755)
    assert connector.revision() != usable
    await server.stop(0)


def connector_of(node: Node, shown: Certificate) -> Connector:
    settings = settings_for(
        node.directory,
        tls_certificate_file=str(shown.certificate),
        tls_key_file=str(shown.key),
        tls_server_ca_file=str(node.clients.root.certificate),
    )
    return Connector(node.address, settings, file_check_seconds=0)


async def test_a_connection_between_services_shows_the_newest_certificate(node: Node) -> None:
    """The next call already shows the new certificate. If the files do not fit together, the old connection stays."""
    shown, newer = node.clients.sign("lab", spiffe(LAB_NAME)), node.clients.sign("newer", spiffe(f"labs/{OTHER_USCC}"))
    connection = ReconnectingStub(connector_of(node, shown), LabServiceStub)
    await connection.stub.GetLab(GET_LAB)
    shutil.copy(newer.certificate, shown.certificate)
    await connection.stub.GetLab(GET_LAB)
    shutil.copy(newer.key, shown.key)
    await connection.stub.GetLab(GET_LAB)
    assert node.callers == [LAB_NAME, LAB_NAME, f"labs/{OTHER_USCC}"]
    await connection.close()


async def test_a_stream_that_connects_again_shows_the_newest_certificate(node: Node) -> None:
    """A stream opens its channels itself. No call asks whether the files have changed."""
    shown, newer = node.clients.sign("lab", spiffe(LAB_NAME)), node.clients.sign("newer", spiffe(f"labs/{OTHER_USCC}"))
    connector = connector_of(node, shown)
    async with connector() as channel:
        await LabServiceStub(channel).GetLab(GET_LAB)
    shutil.copy(newer.certificate, shown.certificate)
    shutil.copy(newer.key, shown.key)
    async with connector() as channel:
        await LabServiceStub(channel).GetLab(GET_LAB)
    assert node.callers == [LAB_NAME, f"labs/{OTHER_USCC}"]


async def test_a_connection_ends_at_its_age(tmp_path: Path) -> None:
    """For the next call, the client opens a new connection by itself."""
    peers = set()

    async def get_lab(request: GetLabRequest) -> GetLabResponse:
        call = current_call.get()
        assert call is not None
        peers.add(call.caller.peer)
        return await answer(request)

    server = await start(pretend(get_lab), "127.0.0.1:0", settings_for(tmp_path), ServerTiming(connection_age=0.05))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:

        async def has_changed() -> bool:
            await LabServiceStub(channel).GetLab(GET_LAB)
            return len(peers) > 1

        await until(has_changed)
    await server.stop(0)
