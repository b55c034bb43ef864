"""Tries what one valid certificate of each role could do to others, against a real node. Checks what a kill leaves."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest
from hutong.results.v1.lab_pb2 import LAB_STANDING_AUTHORIZED, LAB_STANDING_REVOKED, Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, GetLabRequest, SetLabStandingRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import GetResultRequest, ListResultsRequest, WatchResultsRequest
from hutong.type.v1 import outcome_pb2, purpose_pb2
from hutong.verification.v1.refusal_service_pb2 import ListRefusalsRequest
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from clients.examples.node import SERVICES
from services.command.audit import who_read
from services.domain.instant import HOUR, to_timestamp
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from tests.support.access.methods import METHODS
from tests.support.certificates import Authority, spiffe
from tests.support.policy.service import make_policy
from tests.support.ports import free_addresses
from tests.support.processes import Daemon, daemon, hutongd
from tests.support.results.factories import LAB_NAME, OTHER_USCC, make_document, make_tube
from tests.support.results.node import batch_of, start
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS, random_instant, wait_until

VICTIM, THEIR_SUPERVISOR = LAB_NAME, "supervisors/220000"
ATTACKERS = (
    f"labs/{OTHER_USCC}",
    "gates/220000/1",
    "apps/health-code",
    "authorities/410000",
    "supervisors/410000",
    "nodes/410000",
    "services/verification/220000",
    "operators/1",
    "edges/1",
)
CASE = (("hutong-case", "C-1"),)
RESULT = f"{VICTIM}/results/R1"
ROUNDS = int(os.environ.get("KILL_ROUNDS", "1"))
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(1, 10**6))
_RPCS = {method.input_type.full_name: method for method in METHODS}


class Site:
    """A node with certificates of its own authorities, and its callers."""

    def __init__(self, directory: Path) -> None:
        self._clients, self._nodes = Authority(directory, "client-ca"), Authority(directory, "node-ca")
        own = self._nodes.sign("server", spiffe("nodes/220000"))
        self.data = directory / "data"
        self._addresses = free_addresses()
        self.variables = {
            "data_dir": str(self.data),
            "pepper_file": str(write_secret(directory / "pepper")),
            "jurisdiction": "220000",
            "upload_workers": "0",
            "tls_certificate_file": str(own.certificate),
            "tls_key_file": str(own.key),
            "tls_server_ca_file": str(self._nodes.root.certificate),
            "tls_client_ca_file": str(self._clients.root.certificate),
            "tls_node_ca_file": str(self._nodes.root.certificate),
            **{f"{service}_address": address for service, address in self._addresses.items()},
        }
        self._stack = contextlib.ExitStack()
        self._channels: dict[tuple[str, str], grpc.Channel] = {}

    def serve(self) -> Daemon:
        """Run all services until they are killed or the test ends."""
        return self._stack.enter_context(daemon("serve", "all", **self.variables))

    def close(self) -> None:
        self._stack.close()

    def channel(self, caller: str, service: str) -> grpc.Channel:
        """Return the connection of a caller to a service."""
        if (caller, service) not in self._channels:
            authority = self._nodes if caller.startswith("nodes/") else self._clients
            key, chain = authority.sign(caller.replace("/", "-"), spiffe(caller)).pem()
            credentials = grpc.ssl_channel_credentials(self._nodes.root.certificate.read_bytes(), key, chain)
            address = self._addresses[service].replace("127.0.0.1", "localhost")
            options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50)]
            self._channels[caller, service] = self._stack.enter_context(
                grpc.secure_channel(address, credentials, options)
            )
        return self._channels[caller, service]

    def call(self, caller: str, request: Message, **options: Any) -> Any:
        """Call the RPC that takes this request. Return its answer, or the first answer of a stream."""
        method = _RPCS[request.DESCRIPTOR.full_name]
        service = method.containing_service.full_name
        channel = self.channel(caller, next((name for name in SERVICES if f".{name}." in service), "results"))
        begin = channel.unary_stream if method.server_streaming else channel.unary_unary
        answer = begin(
            f"/{service}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True, metadata=CASE, **options)
        return next(answer) if method.server_streaming else answer

    def command(self, *arguments: str) -> list[str]:
        """Run `hutongd` with the settings of the node. Return the lines that it prints."""
        done = hutongd(*arguments, **self.variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def reads_of(self, person: int) -> list[str]:
        """Return the methods by which gates have read results of a person, as `hutongd audit who-read` lists them."""
        settings = Settings.from_environment({f"HUTONG_{name.upper()}": text for name, text in self.variables.items()})
        output, number = io.StringIO(), make_document(person).number
        who_read(settings, ["verification"], (1, number, ""), SystemClock().now(), output)
        rows = map(json.loads, output.getvalue().splitlines())
        return [it["method"] for it in rows if it.get("caller", "").startswith("gates/")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


def upload(site: Site, lab: str, persons: range) -> None:
    channel = site.channel(lab, "results")
    method = _RPCS["hutong.results.v1.UploadResultsRequest"]
    reported = SystemClock().now() - HOUR
    frames = [start(lab=lab), batch_of([make_tube(one, reported=reported, region="220502") for one in persons])]
    stream = channel.stream_stream(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    *_, last = stream(iter(frames), timeout=TIMEOUT_SECONDS)
    assert last.accepted_count == len(persons)


def doings() -> list[tuple[Message, set[str]]]:
    """Return requests that change or read data of others, each with the attackers whose role may make the request."""
    standing = SetLabStandingRequest(name=VICTIM, standing=LAB_STANDING_REVOKED, reason="x")
    standing.effective_time.CopyFrom(to_timestamp(SystemClock().now() - 10_000 * HOUR))
    recall = RecallResultsRequest(lab=VICTIM, reason="x")
    recall.report_interval.start_time.CopyFrom(to_timestamp(SystemClock().now() - 24 * HOUR))
    recall.report_interval.end_time.CopyFrom(to_timestamp(SystemClock().now()))
    strangers = LinkDocumentsRequest(document=make_document(1), linked_document=make_document(2), reason="x")
    return [
        (CorrectResultRequest(name=RESULT, outcome=outcome_pb2.OUTCOME_POSITIVE, reason="x"), set()),
        (recall, set()),
        (standing, set()),
        (PublishPolicyRequest(policy=make_policy("jurisdictions/220000/policies/hotel")), set()),
        # A laboratory and a supervisor watch what is theirs, and an operator watches replication.
        (WatchResultsRequest(), {ATTACKERS[0], "supervisors/410000", "operators/1"}),
        (strangers, {"supervisors/410000"}),
        (ListRefusalsRequest(region="220000"), set()),
        (ListResultsRequest(lab=VICTIM), set()),
        (GetResultRequest(name=RESULT), {"operators/1"}),
    ]


def test_a_valid_certificate_does_nothing_to_others(site: Site) -> None:
    """No request changes or reads anything. Each attempt is in the audit. No other user can read the databases."""
    running = site.serve()
    for lab, region in ((VICTIM, "220502"), (ATTACKERS[0], "410105")):
        site.call("operators/1", CreateLabRequest(lab=Lab(name=lab, display_name="检验所", region=region)))
    upload(site, VICTIM, range(3))
    before = site.call(VICTIM, GetResultRequest(name=RESULT))
    tried: set[tuple[str, str]] = set()
    for request, permitted in doings():
        method = _RPCS[request.DESCRIPTOR.full_name]
        for attacker in ATTACKERS:
            if attacker in permitted:
                continue
            with pytest.raises(grpc.RpcError) as refused:
                site.call(attacker, request)
            expected = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}
            assert refused.value.code() in expected, (attacker, method.name, refused.value)
            tried.add((attacker, method.name))
    running.process.send_signal(signal.SIGHUP)
    assert site.call(VICTIM, GetResultRequest(name=RESULT)) == before
    assert site.call(VICTIM, GetLabRequest(name=VICTIM)).lab.standing == LAB_STANDING_AUTHORIZED
    running.kill()
    # A running service makes and removes files.
    for file in (site.data, *site.data.iterdir()):
        assert file.stat().st_mode & 0o077 == 0, file
    rows = map(json.loads, site.command("audit", "export", "--since", "1d"))
    found = {(it["caller"], it["method"].rpartition("/")[2]) for it in rows if it["kind"] == "DENIAL"}
    # A request about two documents has a row for each document.
    assert found == tried


class Gate(threading.Thread):
    """Asks about one person after the other until it is stopped, whatever happens. It asks about each person once."""

    def __init__(self, site: Site, persons: Iterator[int]) -> None:
        super().__init__()
        self.answered: list[int] = []
        self._site = site
        # All gates share one connection. It is made before the threads of the gates begin.
        site.channel("gates/220000/1", "verification")
        self._persons = persons
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self.join(TIMEOUT_SECONDS)

    def run(self) -> None:
        while not self._stopped.is_set():
            person = next(self._persons)
            question = VerifyRequest(document=make_document(person), region="220502", purpose=purpose_pb2.PURPOSE_HOTEL)
            with contextlib.suppress(grpc.RpcError):
                self._site.call("gates/220000/1", question)
                self.answered.append(person)


def test_each_read_whose_answer_left_before_a_kill_is_listed(site: Site) -> None:
    """`who-read` lists one read of each answered person, and no read of other persons.

    `verify` names the rows that a kill left unsealed.
    """
    chance = random.Random(SEED)
    running = site.serve()
    gates = [Gate(site, iter(range(first, first + 10_000))) for first in (100_000, 110_000, 120_000)]
    for gate in gates:
        gate.start()
    for _ in range(ROUNDS):
        least = sum(len(gate.answered) for gate in gates) + 20
        wait_until(lambda least=least: sum(len(gate.answered) for gate in gates) >= least)  # type: ignore[misc]
        random_instant(chance, 0.3)
        running.kill()
        assert not any("missing" in line for line in site.command("audit", "verify", "verification")), f"seed {SEED}"
        running = site.serve()
    for gate in gates:
        gate.stop()
    running.terminate()
    rows = [json.loads(line) for line in site.command("audit", "export", "verification", "--since", "1d")]
    reads = Counter(it["caller"] for it in rows if it["kind"] == "READ")
    answered = [person for gate in gates for person in gate.answered]
    assert len(answered) <= reads["gates/220000/1"] <= len(answered) + len(gates) * ROUNDS, f"seed {SEED}"
    method = "hutong.verification.v1.VerificationService/Verify"
    for person in chance.sample(answered, 10):
        assert site.reads_of(person) == [method], f"seed {SEED}"
    assert site.reads_of(99_999) == []
