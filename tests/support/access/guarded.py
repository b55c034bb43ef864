"""Runs a nation's three services over mutual TLS, and calls them as every role of the contract."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from hutong.approval.v1.approval_service_pb2 import OpenEmergencyGrantRequest
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.approval.v1.pending_change_pb2 import PendingChange
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, UnlinkDocumentsRequest
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.legal_hold_service_pb2 import CreateLegalHoldRequest
from hutong.results.v1.legal_hold_service_pb2_grpc import LegalHoldServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceStub
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import select

from services.domain.instant import HOUR, to_timestamp
from services.domain.names import format_case
from services.policy.main import open_policy
from services.results.limits import ResultsLimits
from services.results.main import open_results
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.ids import uuid7
from services.runtime.server.timing import ServerTiming
from services.storage.engine import open_database
from services.verification.cases.model import CaseOpening
from services.verification.cases.opening import open_cases
from services.verification.cases.tables import evidence_cases
from services.verification.main import open_verification
from tests.support.certificates import Authority, Certificate, spiffe
from tests.support.databases import MakeUrl
from tests.support.errors import LOST_STATUS
from tests.support.results.factories import LAB_NAME, OTHER_USCC, USCC, make_document, make_tube
from tests.support.results.node import batch_of, start
from tests.support.servers import new_channel, serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS

REGION, OTHER_REGION = "220000", "410000"
OTHER_LAB = f"labs/{OTHER_USCC}"
CONTACT = "0435-0000000"
"""The contact of both laboratories."""
CALLERS = {
    "lab": LAB_NAME,
    "gate": f"gates/{REGION}/1",
    "app": "apps/health-code",
    "authority": f"authorities/{REGION}",
    "supervisor": f"supervisors/{REGION}/second",
    "node": f"nodes/{REGION}",
    "verification": "services/verification/000000",
    "operator": "operators/1",
    "edge": "edges/1",
}
ELSEWHERE = {
    "lab": OTHER_LAB,
    "gate": f"gates/{OTHER_REGION}/1",
    "supervisor": f"supervisors/{OTHER_REGION}/second",
    "authority": "authorities/000000",
}
"""For some roles, another caller of the role, to which the objects of the other region belong."""
ISSUER, AUDIENCE = "https://sign-in.example/realms/hutong", "hutong"
CASE = ("hutong-case", "case-1")
USER, OTHER_USER = 1, 2
"""The persons whose documents are the signed-in user's and another's."""


@dataclass(slots=True)
class Guarded:
    """The services, and what is needed to call them."""

    directory: Path
    clients: Authority
    nodes: Authority
    issuer: ECKey
    addresses: dict[str, str]
    settings: Settings
    stack: contextlib.AsyncExitStack
    certificates: dict[str, Certificate] = field(default_factory=dict)
    channels: dict[tuple[str, str], grpc.aio.Channel] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    decisions: dict[str, str] = field(default_factory=dict)
    cases: dict[str, str] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)

    def certificate(self, name: str) -> Certificate:
        """Return the certificate of a caller's name, signed by the authority that is right for it."""
        if name not in self.certificates:
            authority = self.nodes if name.startswith("nodes/") else self.clients
            self.certificates[name] = authority.sign(name.replace("/", "-"), spiffe(name))
        return self.certificates[name]

    async def connect(self, service: str, shown: Certificate) -> grpc.aio.Channel:
        """Open a connection of its own that shows a certificate. It is closed with the services."""
        key, chain = shown.pem()
        credentials = grpc.ssl_channel_credentials(self.clients.root.certificate.read_bytes(), key, chain)
        return await self.stack.enter_async_context(new_channel(self.addresses[service], credentials))

    async def channel(self, service: str, name: str) -> grpc.aio.Channel:
        """Return the connection of a caller to a service."""
        if (service, name) not in self.channels:
            self.channels[service, name] = await self.connect(service, self.certificate(name))
        return self.channels[service, name]

    def token(self, shown: Certificate | None, person: int | None = USER, **claims: Any) -> tuple[str, str]:
        """Return the metadata of a token, bound to a certificate if one is given. `claims` replace its claims."""
        now = int(time.time())
        made: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300}
        if shown is not None:
            made["cnf"] = {"x5t#S256": thumbprint(shown)}
        if person is not None:
            made["hutong_document"] = {"type": "RESIDENT_ID_CARD", "number": make_document(person).number}
        made |= claims
        header = {"alg": "ES256", "kid": self.issuer.kid}
        return "authorization", f"Bearer {jwt.encode(header, made, self.issuer, algorithms=['ES256'])}"

    def metadata(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return the metadata that permits a caller the most: a case, and for an app a token of a user."""
        return (CASE, self.token(self.certificate(name))) if name.startswith("apps/") else (CASE,)


def thumbprint(shown: Certificate) -> str:
    """Return the SHA-256 of a certificate as RFC 8705 writes it."""
    der = ssl.PEM_cert_to_DER_cert(shown.certificate.read_text())
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


@contextlib.asynccontextmanager
async def open_guarded(
    directory: Path,
    make_url: MakeUrl,
    timing: ServerTiming | None = None,
    limits: ResultsLimits | None = None,
    **more: str,
) -> AsyncIterator[Guarded]:
    """Run the national node, with a laboratory, a decision and a refusal in each of two regions.

    `more` are further HUTONG_ variables in lower case.
    """
    clients, nodes = Authority(directory, "client-ca"), Authority(directory, "node-ca")
    issuer = ECKey.generate_key("P-256", {"kid": "k1"})
    keys = directory / "keys.json"
    keys.write_text(json.dumps({"keys": [issuer.as_dict(private=False)]}))
    own = clients.sign("server", spiffe("services/verification/000000"))
    variables = {
        "tls_certificate_file": str(own.certificate),
        "tls_key_file": str(own.key),
        "tls_server_ca_file": str(clients.root.certificate),
        "tls_client_ca_file": str(clients.root.certificate),
        "tls_node_ca_file": str(nodes.root.certificate),
        "token_keys_file": str(keys),
        "token_issuer": ISSUER,
        "token_audience": AUDIENCE,
        "upload_workers": "0",
        **{f"{service}_database_url": make_url(service) for service in ("results", "policy", "verification")},
        **more,
    }
    settings = settings_for(directory, **variables)
    async with contextlib.AsyncExitStack() as stack:
        addresses = {}
        openers = {
            "results": partial(open_results, limits=limits),
            "policy": open_policy,
            "verification": open_verification,
        }
        for name, opener in openers.items():
            addresses[name] = await stack.enter_async_context(serving(await opener(settings), settings, timing=timing))
            found = replace(settings.service(name), address=addresses[name])
            settings = replace(settings, **{name: found})
        guarded = Guarded(directory, clients, nodes, issuer, addresses, settings, stack)
        await _fill(guarded)
        yield guarded


async def _fill(guarded: Guarded) -> None:
    operator = LabServiceStub(await guarded.channel("results", CALLERS["operator"]))
    app = CALLERS["app"]
    refusals = RefusalServiceStub(await guarded.channel("verification", app))
    reported = SystemClock().now() - HOUR
    places = (("own", LAB_NAME, "220502", USER), ("other", OTHER_LAB, "410105", OTHER_USER))
    for which, lab, region, person in places:
        await operator.CreateLab(
            CreateLabRequest(lab=Lab(name=lab, display_name="检验所", region=region, contact=CONTACT))
        )
        uploads = UploadServiceStub(await guarded.channel("results", lab))
        frames = iter([start(lab=lab), batch_of([make_tube(person, reported=reported, region=region)])])
        answers = [answer async for answer in uploads.UploadResults(frames, timeout=TIMEOUT_SECONDS)]
        assert answers[-1].accepted_count == 1
        asked = VerifyRequest(
            document=make_document(person), region=region, purpose=purpose_pb2.PURPOSE_HOTEL, store_decision=True
        )
        gate = CALLERS["gate"] if which == "own" else ELSEWHERE["gate"]
        gates = VerificationServiceStub(await guarded.channel("verification", gate))
        guarded.decisions[which] = (await gates.Verify(asked)).decision.name
        guarded.cases[which] = await asyncio.to_thread(_open_case, guarded, region)
        complaint = ReportRefusalRequest(
            region=region,
            purpose=purpose_pb2.PURPOSE_HOTEL,
            refuse_time=to_timestamp(reported),
            grounds=[refusal_ground_pb2.REFUSAL_GROUND_NO_PROOF],
            document=make_document(person),
        )
        signed_in = guarded.token(guarded.certificate(app), person)
        reported_refusal = await refusals.ReportRefusal(complaint, metadata=(signed_in,))
        guarded.refusals[which] = reported_refusal.refusal.name
        guarded.codes[which] = reported_refusal.code
        proposer = f"supervisors/{REGION if which == 'own' else OTHER_REGION}/first"
        guarded.changes[which] = (await propose_unlinking(guarded, proposer, person + 50)).name
        approvals = ApprovalServiceStub(await guarded.channel("results", proposer))
        opened = await approvals.OpenEmergencyGrant(OpenEmergencyGrantRequest(reason="a drill"))
        guarded.grants[which] = opened.emergency_grant.name
        holds = LegalHoldServiceStub(await guarded.channel("results", proposer))
        held = await holds.CreateLegalHold(CreateLegalHoldRequest(lab=lab, reason="a lawsuit"), metadata=(CASE,))
        guarded.holds[which] = held.legal_hold.name


def _open_case(guarded: Guarded, region: str) -> str:
    """Open a case of evidence that was shown in a region, and return its name."""
    database = open_database(guarded.settings.verification.database_url)
    opening = CaseOpening(USCC, region, 1, (), f"{region[:4]}00", uuid7(), "", SystemClock().now())
    database.write_now(open_cases, [opening])
    query = select(evidence_cases.c.uuid).where(evidence_cases.c.report_number == region)
    uuid = database.read_now(lambda connection: connection.execute(query).scalar_one())
    database.close()
    return format_case(uuid)


async def propose_unlinking(guarded: Guarded, proposer: str, person: int) -> PendingChange:
    """Link two documents as a supervisor, and propose to unlink them. Return the pending change."""
    links = DocumentLinkServiceStub(await guarded.channel("results", proposer))
    pair = {"document": make_document(person), "linked_document": make_document(person + 10)}
    await links.LinkDocuments(LinkDocumentsRequest(**pair, reason="both seen"), metadata=(CASE,))
    answer = await links.UnlinkDocuments(UnlinkDocumentsRequest(**pair, reason="a slip"), metadata=(CASE,))
    assert not answer.HasField("document_link")
    return answer.pending_change


async def outcome_of(begin: Callable[[], Any]) -> tuple[grpc.StatusCode, Any]:
    """Begin a call and return its `outcome`.

    A call whose status grpc.aio lost is begun again.
    """
    code, answer = grpc.StatusCode.INTERNAL, None
    for _ in range(5):
        code, answer = await outcome(begin())
        if code is not grpc.StatusCode.INTERNAL or LOST_STATUS not in str(answer):
            break
    return code, answer


async def outcome(call: Any) -> tuple[grpc.StatusCode, Any]:
    """Return the code of a call and its answer, of a stream the first one. A call without a code has no answer."""
    try:
        if hasattr(call, "read"):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await call.read()
            if answer is not grpc.aio.EOF:
                call.cancel()
                return grpc.StatusCode.OK, answer
            return await call.code(), await call.details()
        return grpc.StatusCode.OK, await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error
