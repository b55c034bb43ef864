"""Tests by real servers which certificates and tokens identify a caller, and which do not."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import grpc
import pytest
import pytest_asyncio
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest
from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import InternalLookupServiceStub
from hutong.results.v1.document_link_service_pb2 import ListLinkedDocumentsRequest
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, ListLabsRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.domain.base64url import encode_base64url
from services.runtime.server.timing import ServerTiming
from tests.support.access.guarded import (
    AUDIENCE,
    CALLERS,
    ISSUER,
    OTHER_USER,
    REGION,
    USER,
    Guarded,
    open_guarded,
    thumbprint,
)
from tests.support.certificates import Authority, Certificate, spiffe
from tests.support.databases import SqliteDatabases
from tests.support.errors import error_info, failure_of
from tests.support.results.factories import LAB_NAME, make_document
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = (grpc.StatusCode.UNAUTHENTICATED, "NOT_AUTHENTICATED")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    quick = ServerTiming(reload=0.05)
    async with open_guarded(tmp_path_factory.mktemp("guarded"), sqlite_databases.make, quick) as opened:
        yield opened


@pytest.mark.parametrize(
    "uris",
    [
        (),
        (spiffe("gates/220000/1"), spiffe("operators/1")),
        (spiffe("operators/1"), "https://elsewhere.example/operators/1"),
        ("spiffe://elsewhere.example/operators/1",),
        ("spiffe://hutong.org.elsewhere.example/operators/1",),
        ("https://hutong.org/operators/1",),
        (spiffe("operators/1/more"),),
        (spiffe("operators/1/"),),
        (spiffe("operators/%31"),),
        (spiffe("operators/.."),),
        (spiffe("operators/1\0.elsewhere.example"),),
        ("spiffe://HUTONG.org/operators/1",),
        (spiffe("operatorss/1"),),
        (spiffe(f"operators/{'1' * 65}"),),
        (spiffe(f"operators/{'1' * 4000}"),),
        (spiffe("gates/999999/1"),),
        (spiffe("labs/91220501MA0HUTNG0X"),),
        (spiffe(f"nodes/{REGION}"),),
        (spiffe("services/results"),),
    ],
)
async def test_a_certificate_that_names_no_caller_is_not_known(guarded: Guarded, uris: tuple[str, ...]) -> None:
    """A certificate must have one URI of this trust domain in a known form.

    The nodes' authority must sign that of a node.
    """
    channel = await guarded.connect("results", guarded.clients.sign("tried", *uris, dns=f"{REGION}.nodes.hutong.org"))
    assert (await failure_of(LabServiceStub(channel).ListLabs(ListLabsRequest())))[:2] == UNKNOWN


async def test_a_verification_is_that_of_its_node_alone(guarded: Guarded) -> None:
    """A certificate that names no node is accepted everywhere until release 1.0."""
    asked = BatchLookupColumnsRequest()

    async def answer(name: str) -> tuple[grpc.StatusCode, str]:
        channel = await guarded.connect("results", guarded.clients.sign("tried", spiffe(name)))
        return (await failure_of(InternalLookupServiceStub(channel).BatchLookupColumns(asked)))[:2]

    with capture_logs() as logs:
        for own in ("services/verification/000000", "services/verification"):
            assert await answer(own) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert await answer(f"services/verification/{REGION}") == UNKNOWN
    assert sum(line["event"] == "certificate of Verification without a node" for line in logs) == 1


async def test_the_nodes_authority_signs_no_other_caller(guarded: Guarded) -> None:
    """The transport accepts its certificates, which is needed for nodes."""
    for name in ("operators/1", "services/verification/000000"):
        channel = await guarded.connect("results", guarded.nodes.sign("tried", spiffe(name)))
        assert (await failure_of(LabServiceStub(channel).ListLabs(ListLabsRequest())))[:2] == UNKNOWN


async def test_an_intermediate_authority_of_the_nodes_signs_no_caller(guarded: Guarded) -> None:
    """The service sees no chain, so an intermediate authority of the clients must be in the file of authorities."""
    for above in (guarded.nodes, guarded.clients):
        authority = Authority(guarded.directory, "intermediate", above)
        for name in ("operators/1", f"supervisors/{REGION}", f"nodes/{REGION}"):
            shown = authority.sign_with_chain("tried", spiffe(name))
            channel = await guarded.connect("results", shown)
            assert (await failure_of(LabServiceStub(channel).ListLabs(ListLabsRequest())))[:2] == UNKNOWN, name


async def test_an_intermediate_authority_of_the_clients_is_listed(guarded: Guarded) -> None:
    """An intermediate authority that is listed beside its root signs callers.

    The nodes' authorities do not change, so it signs no nodes.
    """
    authority, listed = Authority(guarded.directory, "listed", guarded.clients), guarded.clients.root.certificate
    supervisor = authority.sign_with_chain("tried", spiffe(f"supervisors/{REGION}"))
    node = authority.sign_with_chain("node", spiffe(f"nodes/{REGION}"))
    listed.write_bytes(listed.read_bytes() + authority.root.certificate.read_bytes())

    async def is_accepted() -> bool:
        channel = await guarded.connect("results", supervisor)
        return await LabServiceStub(channel).ListLabs(ListLabsRequest()).code() is grpc.StatusCode.OK

    await until(is_accepted)
    labs = LabServiceStub(await guarded.connect("results", node))
    assert (await failure_of(labs.ListLabs(ListLabsRequest())))[:2] == UNKNOWN


async def test_a_nodes_own_certificate_is_its_verification_at_itself(guarded: Guarded) -> None:
    """A node needs one certificate. At another node the same certificate is that of a node."""
    asked = BatchLookupColumnsRequest()
    own = InternalLookupServiceStub(await guarded.channel("results", "nodes/000000"))
    assert (await failure_of(own.BatchLookupColumns(asked)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    other = InternalLookupServiceStub(await guarded.channel("results", f"nodes/{REGION}"))
    assert (await failure_of(other.BatchLookupColumns(asked)))[:2] == DENIED


def unsigned(guarded: Guarded, **header: Any) -> tuple[str, str]:
    """Return the app's token with another header. Its signature is no longer that of its content."""
    name, token = guarded.token(guarded.certificate(CALLERS["app"]))
    _, rest = token.split(".", 1)
    return name, f"Bearer {encode_base64url(json.dumps({'alg': 'ES256', 'kid': 'k1'} | header).encode())}.{rest}"


def forged(guarded: Guarded, key: Any, algorithm: str) -> tuple[str, str]:
    """Return a token with the right claims that another key signed."""
    now = int(time.time())
    bound = {"x5t#S256": thumbprint(guarded.certificate(CALLERS["app"]))}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 60, "cnf": bound}
    return "authorization", f"Bearer {jwt.encode({'alg': algorithm, 'kid': 'k1'}, claims, key, algorithms=[algorithm])}"


def public_key_as_secret(guarded: Guarded) -> OctKey:
    """Return a secret that everybody knows: the text of the issuer's key, as the service reads it."""
    return OctKey.import_key(json.dumps(guarded.issuer.as_dict(private=False)))


def after(seconds: int) -> int:
    """Return the instant so many seconds after this call, in seconds since 1970."""
    return int(time.time()) + seconds


BAD_TOKENS: dict[str, Callable[[Guarded], tuple[str, str]]] = {
    "another certificate's": lambda it: it.token(it.certificate(CALLERS["gate"])),
    "no certificate's": lambda it: it.token(None),
    "another issuer's": lambda it: it.token(it.certificate(CALLERS["app"]), iss="https://elsewhere.example"),
    "another audience's": lambda it: it.token(it.certificate(CALLERS["app"]), aud="elsewhere"),
    "expired": lambda it: it.token(it.certificate(CALLERS["app"]), iat=after(-700), exp=after(-200)),
    "of the future": lambda it: it.token(it.certificate(CALLERS["app"]), iat=after(900), exp=after(1000)),
    "good for too long": lambda it: it.token(it.certificate(CALLERS["app"]), exp=after(3600)),
    "of no document": lambda it: it.token(it.certificate(CALLERS["app"]), hutong_document={"number": "1"}),
    "of a wrong number": lambda it: it.token(
        it.certificate(CALLERS["app"]), hutong_document={"type": "RESIDENT_ID_CARD", "number": "110101190001010001"}
    ),
    "signed by another": lambda it: forged(it, ECKey.generate_key("P-256"), "ES256"),
    "signed by a secret": lambda it: forged(it, OctKey.import_key(b"0" * 32), "HS256"),
    "signed by the public key": lambda it: forged(it, public_key_as_secret(it), "HS256"),
    "without a signature": lambda it: unsigned(it, alg="none"),
    "of a key in a path": lambda it: unsigned(it, kid="../../k1"),
    "of a key in itself": lambda it: unsigned(it, jwk=ECKey.generate_key("P-256").as_dict(private=False)),
    "expiring at a text": lambda it: it.token(it.certificate(CALLERS["app"]), exp=str(after(300))),
    "expiring never": lambda it: it.token(it.certificate(CALLERS["app"]), exp=float("inf")),
    "not before a text": lambda it: it.token(it.certificate(CALLERS["app"]), nbf=str(after(0))),
    "not before tomorrow": lambda it: it.token(it.certificate(CALLERS["app"]), nbf=after(86_400)),
    "no token": lambda _it: ("authorization", "Bearer nonsense"),
    "very long": lambda _it: ("authorization", f"Bearer {'x' * 9000}"),
}


@pytest.mark.parametrize("which", BAD_TOKENS)
async def test_a_bad_token_is_not_overlooked(guarded: Guarded, which: str) -> None:
    """The call is refused although the certificate alone would do. Neither the answer nor the log has the number."""
    labs = LabServiceStub(await guarded.channel("results", CALLERS["app"]))
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await labs.ListLabs(ListLabsRequest(), metadata=(BAD_TOKENS[which](guarded),))
    assert (caught.value.code(), error_info(caught.value).reason) == UNKNOWN
    assert "110101190001010001" not in f"{caught.value} {logs}"


async def test_a_token_names_the_user_of_an_app(guarded: Guarded) -> None:
    """The app reads its user's links and no others. Without a token it reads none."""
    app = CALLERS["app"]
    links = DocumentLinkServiceStub(await guarded.channel("results", app))
    signed_in = guarded.token(guarded.certificate(app))

    def listed(person: int) -> ListLinkedDocumentsRequest:
        return ListLinkedDocumentsRequest(document=make_document(person))

    with capture_logs() as logs:
        await links.ListLinkedDocuments(listed(USER), metadata=(signed_in,))
        assert (await failure_of(links.ListLinkedDocuments(listed(OTHER_USER), metadata=(signed_in,))))[:2] == DENIED
        assert (await failure_of(links.ListLinkedDocuments(listed(USER))))[:2] == DENIED
    assert make_document(USER).number not in str(logs)


async def test_of_two_tokens_neither_counts(guarded: Guarded) -> None:
    """A proxy may have read one of them, and the service another one."""
    shown = guarded.certificate(app := CALLERS["app"])
    links = DocumentLinkServiceStub(await guarded.channel("results", app))
    two = (guarded.token(shown), guarded.token(shown, OTHER_USER))
    listed = ListLinkedDocumentsRequest(document=make_document(USER))
    assert (await failure_of(links.ListLinkedDocuments(listed, metadata=two)))[:2] == UNKNOWN


async def test_headers_that_proxies_write_name_no_caller(guarded: Guarded) -> None:
    """Only the certificate and the token count, also for an edge, whose proxy may pass on what its caller wrote."""
    operator = spiffe("operators/1")
    headers = (
        ("x-forwarded-client-cert", f"By={spiffe('nodes/000000')};Hash={'0' * 64};URI={operator}"),
        ("x-hutong-role", "operator"),
        ("hutong-on-behalf-of", "operators/1"),
        ("forwarded", "for=127.0.0.1"),
    )
    asked = CreateLabRequest(lab=Lab(name="labs/91410100MA0000001X", display_name="检验所", region="410105"))
    for caller in ("edge", "gate", "lab", "app"):
        labs = LabServiceStub(await guarded.channel("results", CALLERS[caller]))
        assert (await failure_of(labs.CreateLab(asked, metadata=headers)))[:2] == DENIED, caller


async def test_an_edge_has_only_the_role_of_its_token(guarded: Guarded) -> None:
    """The token of an edge needs no certificate, but may not be bound to another one.

    It names a caller that may use an edge, wholly and without gaps.
    """
    channel = await guarded.channel("verification", CALLERS["edge"])
    verification = VerificationServiceStub(channel)
    asked = VerifyRequest(region="220502")

    async def answer(bound_to: Certificate | None = None, **claims: str) -> tuple[grpc.StatusCode, str]:
        token = guarded.token(bound_to, None, **claims)
        return (await failure_of(verification.Verify(asked, metadata=(token,))))[:2]

    gate = {"hutong_role": "gate", "hutong_name": "gates/220500/9", "hutong_region": "220500"}
    for bound_to in (None, guarded.certificate(CALLERS["edge"])):
        assert await answer(bound_to, **gate) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert await answer(guarded.certificate(CALLERS["gate"]), **gate) == UNKNOWN
    assert await answer(**gate | {"hutong_name": "gates/410100/9", "hutong_region": "410100"}) == DENIED
    assert await answer(hutong_role="lab", hutong_name=LAB_NAME) == DENIED
    assert (await failure_of(verification.Verify(asked)))[:2] == DENIED
    for wrong in (
        {},
        gate | {"hutong_region": "220000"},
        gate | {"hutong_role": "operator"},
        {"hutong_role": "node", "hutong_name": "nodes/220000", "hutong_region": "220000"},
        {"hutong_role": "verification", "hutong_name": "services/verification/000000", "hutong_region": "000000"},
        {"hutong_role": "edge", "hutong_name": "edges/1"},
    ):
        assert await answer(**wrong) == UNKNOWN, wrong


def handled(method: str, role: str, code: str) -> float:
    """Return how many calls of LabService by a role have ended with a code, in all servers of this process."""
    labels = {"grpc_type": "unary", "grpc_service": "hutong.results.v1.LabService", "grpc_method": method}
    found = REGISTRY.get_sample_value("grpc_server_handled_total", {**labels, "role": role, "grpc_code": code})
    return found or 0.0


async def test_calls_are_counted_by_role(guarded: Guarded) -> None:
    """A caller that is not known has the role `unknown`."""
    before = handled("ListLabs", "lab", "OK"), handled("ListLabs", "unknown", "Unauthenticated")
    await LabServiceStub(await guarded.channel("results", LAB_NAME)).ListLabs(ListLabsRequest())
    nameless = await guarded.connect("results", guarded.clients.sign("nameless"))
    await failure_of(LabServiceStub(nameless).ListLabs(ListLabsRequest()))
    # A call is counted after its answer or its status has left.
    await until(lambda: handled("ListLabs", "unknown", "Unauthenticated") == before[1] + 1)
    await until(lambda: handled("ListLabs", "lab", "OK") == before[0] + 1)


async def test_the_log_names_the_caller_and_no_method_that_was_made_up(guarded: Guarded) -> None:
    channel = await guarded.channel("results", CALLERS["operator"])
    with capture_logs() as logs:
        for name in ("/hutong.results.v1.LabService/ListLabs", "/made.up/110101190001010001"):
            call = channel.unary_unary(name)(b"")
            await call.code()

        def lines_of_the_caller() -> list[MutableMapping[str, Any]]:
            # Services call each other meanwhile, and their calls have lines too.
            return [line for line in logs if line["event"] == "call" and line["caller"] == "operators/1"]

        # The server may write the line after the answer has left.
        await until(lambda: len(lines_of_the_caller()) == 2)
        lines = lines_of_the_caller()
    assert [(line["method"], line["caller"], line["role"]) for line in lines] == [
        ("/hutong.results.v1.LabService/ListLabs", "operators/1", "operator"),
        ("(not served)", "operators/1", "operator"),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines)
