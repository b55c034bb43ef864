"""HTTP/JSON and gRPC-Web through a real Envoy that calls the services over mutual TLS as an edge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from hutong.type.v1 import purpose_pb2
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest, VerifyResponse
from joserfc.jwk import ECKey

from deploy.envoy.configure import CALL_SECONDS, CALLS_PER_SECOND, main
from tests.support import browser
from tests.support.access.guarded import AUDIENCE, CALLERS, ISSUER, REGION, Guarded, open_guarded
from tests.support.databases import SqliteDatabases
from tests.support.pages import block
from tests.support.ports import free_address
from tests.support.processes import run, started
from tests.support.results.factories import make_document
from tests.support.traces import Receiver, exporting_to, receiving
from tests.support.waiting import TIMEOUT_SECONDS, until

ENVOY = shutil.which("envoy")
VERIFY = "hutong.verification.v1.VerificationService/Verify"
LOOK_UP = "hutong.results.internal.v1.InternalLookupService/BatchLookupColumns"
ORIGIN = "https://gate.example"
in_module = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: the HTTP status, the headers in lower case and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Web:
    """An Envoy before the guarded services, its options, and the address whose pages may call it.

    `authorities` are those that a caller of an https address trusts. `receiver` gets the traces of Envoy and of the
    services.
    """

    url: str
    guarded: Guarded
    page: str
    options: dict[str, str]
    receiver: Receiver
    authorities: ssl.SSLContext | None = None

    async def post(self, method: str, body: bytes | dict[str, Any], **headers: str) -> Answer:
        """Call a method; a dictionary is sent as JSON. Underscores in names of headers are hyphens."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await asyncio.to_thread(self._send, "POST", method, data, headers)

    async def preflight(self, origin: str) -> Answer:
        """Ask as a browser does before a page of another origin calls."""
        headers = {"origin": origin, "access_control_request_method": "POST"}
        return await asyncio.to_thread(self._send, "OPTIONS", VERIFY, None, headers)

    def gate_token(self) -> str:
        """Return the authorization header of a gate that signed in."""
        role = {"hutong_role": "gate", "hutong_name": CALLERS["gate"], "hutong_region": REGION}
        return self.guarded.token(None, None, **role)[1]

    def _send(self, verb: str, method: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        named = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        request = urllib.request.Request(f"{self.url}/{method}", data, named, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=self.authorities) as response:
                return Answer(response.status, _lower(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases) -> AsyncIterator[Web]:
    """The national node and an Envoy that checks tokens and serves plain HTTP on loopback."""
    directory = tmp_path_factory.mktemp("web")
    with receiving() as receiver, exporting_to(receiver):
        async with open_web(directory, sqlite_databases, receiver) as opened:
            yield opened


@contextlib.asynccontextmanager
async def open_web(directory: Path, sqlite_databases: SqliteDatabases, receiver: Receiver) -> AsyncIterator[Web]:
    """Run the node and an Envoy that sends traces to a receiver."""
    async with open_guarded(directory, sqlite_databases.make) as guarded:
        edge, page = guarded.certificate(CALLERS["edge"]), free_address()
        options = {
            "ca": str(guarded.clients.root.certificate),
            "certificate": str(edge.certificate),
            "key": str(edge.key),
            "token-keys": str(directory / "keys.json"),
            "token-issuer": ISSUER,
            "token-audience": AUDIENCE,
            "origin": f"http://{page}",
            "otlp": receiver.address,
            "trace-ratio": "1",
        } | guarded.addresses
        async with running_envoy(directory, options) as url:
            yield Web(url, guarded, page, options, receiver)


@contextlib.asynccontextmanager
async def running_envoy(
    directory: Path, options: dict[str, str], change: Callable[[dict[str, Any]], None] = lambda _: None
) -> AsyncIterator[str]:
    """Run an Envoy on free ports with a configuration that is changed before. Yield its address."""
    listen = free_address()
    given = options | {"listen": listen, "admin": free_address()}
    bootstrap = yaml.safe_load(main([*(f"--{name}={value}" for name, value in given.items()), f"--origin={ORIGIN}"]))
    change(bootstrap)
    config = directory / "envoy.yaml"
    config.write_text(yaml.safe_dump(bootstrap))
    command = [ENVOY or "", "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"]
    with started(command):
        await until(lambda: _answers(listen))
        yield f"http://{listen}"


async def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


def question(**fields: Any) -> dict[str, Any]:
    document = make_document(1)
    shown = {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": document.number, "name": document.name}
    return {"document": shown, "region": REGION, "purpose": "PURPOSE_HOTEL"} | fields


@pytest.fixture(autouse=True)
def envoy_is_installed() -> None:
    """No test is skipped for want of Envoy."""
    assert ENVOY, "Envoy is not installed: make check-web installs it"


@in_module
async def test_json_is_answered_as_json(web: Web) -> None:
    """The call has the role of the token."""
    answer = await web.post(VERIFY, question(), authorization=web.gate_token())
    assert answer.status == 200
    decision = answer.json()["decision"]
    assert decision["outcome"].startswith("DECISION_OUTCOME_")
    assert decision["action"].startswith("GATE_ACTION_")


@in_module
async def test_documented_request_is_answered(web: Web) -> None:
    """The lines and the JSON in docs/http.md are a request as they stand, with a token."""
    first, *lines = block("docs/http.md", "http").splitlines()
    verb, _, path = first.partition(" /")
    assert verb == "POST"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers.pop("authorization") == "Bearer {token}"
    body = block("docs/http.md", "json").encode()
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    answer = await web.post(path, body, authorization=web.gate_token(), **named)
    assert answer.status == 200


@in_module
async def test_one_verify_is_one_trace_from_envoy_to_the_statement(web: Web) -> None:
    """No other test asks for this purpose, so Policy and Results are both asked."""
    trace_id = f"{1:032x}"
    answer = await web.post(
        VERIFY,
        question(purpose="PURPOSE_CARE_HOME"),
        authorization=web.gate_token(),
        traceparent=f"00-{trace_id}-{2:016x}-01",
    )
    assert answer.status == 200
    statement = await web.receiver.wait_for("SELECT results", trace_id)
    await until(lambda: web.receiver.path(statement)[0].startswith("hutong-edge"))
    assert web.receiver.path(statement) == [
        f"hutong-edge: {VERIFY}",
        f"hutong-verification: {VERIFY}",
        "hutong-verification: look-up batch",
        f"hutong-verification: {LOOK_UP}",
        f"hutong-results: {LOOK_UP}",
        "hutong-results: database read",
        "hutong-results: SELECT results",
    ]


@in_module
async def test_no_span_has_an_identity(web: Web) -> None:
    """Whatever a caller writes into paths, queries and headers that Envoy or a service could record."""
    number = make_document(1).number
    trace_id = f"{3:032x}"
    named = {"authorization": web.gate_token(), "user_agent": number, "x_request_id": number, "host": number}
    binary = {"content_type": "application/grpc-web+proto", "x_grpc_web": number}
    traced = {"traceparent": f"00-{trace_id}-{2:016x}-01", "tracestate": f"a={number}"}
    await web.post(f"{VERIFY}?document.number={number}", question(), **named, **traced)
    await web.post(f"people/{number}", question(), **named, **traced)
    await web.post(f"people/{number}", b"", **named | binary, **traced)
    await web.post(VERIFY, question(), **named, **traced)
    for name, count in (("(not served)", 2), (VERIFY, 4)):
        await until(lambda name=name, count=count: web.receiver.count(name, trace_id) >= count)
    texts = "\n".join(web.receiver.texts)
    for secret in (number, make_document(1).name, CALLERS["gate"], "127.0.0.1", str(web.guarded.directory)):
        assert secret not in texts


@in_module
async def test_error_is_a_status_with_readable_details(web: Web) -> None:
    """Reason and field are there as JSON."""
    answer = await web.post(VERIFY, question(arriving_from="999999"), authorization=web.gate_token())
    assert answer.status == 400
    details = {detail["@type"].rpartition(".")[2]: detail for detail in answer.json()["details"]}
    assert details["ErrorInfo"]["domain"] == "hutong.org"
    assert details["BadRequest"]["fieldViolations"][0]["field"] == "arriving_from"


@in_module
async def test_edge_without_token_may_do_nothing(web: Web) -> None:
    """A question without a token is refused with 401 or 403. The certificate of the edge gives no right."""
    answer = await web.post(VERIFY, question())
    assert answer.status in (401, 403)
    assert answer.json()["details"][0]["domain"] == "hutong.org"


@in_module
async def test_token_of_another_issuer_is_refused_by_envoy(web: Web) -> None:
    """The refusal is JSON with gRPC's code."""
    forged = ECKey.generate_key("P-256", {"kid": "k1"})
    issuer, web.guarded.issuer = web.guarded.issuer, forged
    try:
        token = web.gate_token()
    finally:
        web.guarded.issuer = issuer
    answer = await web.post(VERIFY, question(), authorization=token)
    assert answer.status == 401
    assert answer.json()["code"] == 16


@in_module
@pytest.mark.parametrize(
    "method",
    [
        "hutong.results.v1.LabService/CreateLab",
        "hutong.results.v1.UploadService/UploadResults",
        "hutong.results.v1.ResultsAdminService/RecallResults",
        "hutong.policy.v1.PolicyAdminService/PublishPolicy",
        "hutong.exchange.v1.ExchangeService/ListNodes",
        "hutong.results.internal.v1.InternalLookupService/BatchLookupColumns",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_administration_uploads_and_exchange_are_not_served(web: Web, method: str) -> None:
    """Whatever the token."""
    answer = await web.post(method, {}, authorization=web.gate_token())
    assert answer.status == 404
    assert answer.json()["code"] == 5


@in_module
async def test_grpc_web_is_answered_with_trailers(web: Web) -> None:
    """A binary frame goes in; a message and the trailers come out."""
    asked = VerifyRequest(document=make_document(1), region=REGION, purpose=purpose_pb2.PURPOSE_HOTEL)
    message = asked.SerializeToString()
    frame = struct.pack(">BI", 0, len(message)) + message
    web_type = "application/grpc-web+proto"
    answer = await web.post(VERIFY, frame, content_type=web_type, x_grpc_web="1", authorization=web.gate_token())
    assert answer.status == 200
    flags, size = struct.unpack(">BI", answer.body[:5])
    assert flags == 0
    decision = VerifyResponse.FromString(answer.body[5 : 5 + size]).decision
    assert decision.outcome != decision_pb2.DECISION_OUTCOME_UNSPECIFIED
    assert b"grpc-status:0" in answer.body[5 + size :].replace(b" ", b"")


@in_module
async def test_pages_of_allowed_origins_alone_may_call(web: Web) -> None:
    """A browser asks first, and sends nothing where the answer names no origin."""
    allowed = await web.preflight(ORIGIN)
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in (await web.preflight("https://other.example")).headers


_FILL_IN = """new Promise((resolve) => {
  const output = document.querySelector("output");
  new MutationObserver(() => resolve(output.textContent)).observe(output, { childList: true });
  const form = document.querySelector("form");
  for (const [name, value] of Object.entries(%s)) form.elements[name].value = value;
  form.requestSubmit();
})"""
"""Fills in the page's form, sends it and waits for the text of the answer."""


@in_module
async def test_page_in_a_browser_gets_typed_answers(web: Web, tmp_path: Path) -> None:
    """The example page of the TypeScript client gets a decision, and an error with its field, by gRPC-Web."""
    missing = [] if shutil.which("npm") else ["Node.js"]
    missing += [] if browser.CHROMIUM else ["Chromium"]
    if missing:
        assert not os.environ.get("CI"), missing
        pytest.skip(f"not installed: {missing}")
    command = ["npm", "run", "--silent", "page", "--", f"--serve={web.page}", "--log-level=error"]
    given = {"envoy": web.url, "token": web.gate_token().removeprefix("Bearer "), "region": REGION}
    # The server of pages ends with its standard input.
    with started(command, cwd=Path("clients/typescript"), stdin=subprocess.PIPE):
        await until(lambda: _answers(web.page))

        def ask() -> tuple[str, str, str]:
            with browser.browser(tmp_path) as tab:
                tab.open(f"http://{web.page}/")
                forms = (given, given | {"number": "410105186001010018"}, given | {"token": ""})
                answered, faulty, unknown = (tab.evaluate(_FILL_IN % json.dumps(form)) for form in forms)
                return answered, faulty, unknown

        answered, faulty, unknown = await asyncio.to_thread(ask)
    assert answered.startswith(("RECOGNIZED, ", "NOT_RECOGNIZED, ", "NOT_REQUIRED, ", "UNDETERMINED, ")), answered
    assert "[invalid_argument]" in faulty
    assert "document.number BAD_DOCUMENT_NUMBER" in faulty
    assert "[unauthenticated]" in unknown or "[permission_denied]" in unknown


@in_module
async def test_body_that_is_too_large_is_refused(web: Web) -> None:
    """The body is refused before it reaches a service."""
    answer = await web.post(VERIFY, question(advice="x" * 1_100_000), authorization=web.gate_token())
    assert answer.status == 413
    assert answer.json()["code"] == 8


@in_module
async def test_body_that_is_no_json_is_refused(web: Web) -> None:
    """A field of the wrong type is refused too."""
    for body in (b"{", json.dumps(question(use_time="yesterday")).encode()):
        answer = await web.post(VERIFY, body, authorization=web.gate_token())
        assert answer.status == 400
        assert answer.json()["code"] == 3


def test_demo_is_answered_through_envoy() -> None:
    """The command behind `make envoy` asks as a gate and gets a recognised result."""
    done = run([sys.executable, "-m", "clients.examples.http", "--once"], timeout=300)
    assert done.returncode == 0, done.stderr
    assert '"outcome": "DECISION_OUTCOME_RECOGNIZED"' in done.stdout


def manager_of(bootstrap: dict[str, Any]) -> Any:
    """Return the settings of HTTP in a configuration."""
    (listener,) = bootstrap["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


@in_module
async def test_calls_beyond_the_rate_are_refused_as_json(web: Web, tmp_path: Path) -> None:
    """A second Envoy with the same configuration, but for the rate, refuses the third call."""

    def narrow(bootstrap: dict[str, Any]) -> None:
        filters = manager_of(bootstrap)["http_filters"]
        (limit,) = (one["typed_config"] for one in filters if one["name"].endswith("local_ratelimit"))
        assert limit["token_bucket"]["max_tokens"] == CALLS_PER_SECOND
        limit["token_bucket"] |= {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"}

    async with running_envoy(tmp_path, web.options, narrow) as url:
        answers = [await replace(web, url=url).post(VERIFY, {}) for _ in range(3)]
    assert [answer.status for answer in answers[:2]] == [403, 403], (
        "they reach the services, which permit an edge without a token nothing"
    )
    assert answers[2].status == 429
    assert answers[2].json()["code"] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


@in_module
async def test_call_that_lasts_too_long_is_ended_as_json(web: Web, tmp_path: Path) -> None:
    """A second Envoy, with a shorter limit, before a service that takes connections and never answers."""

    def hurry(bootstrap: dict[str, Any]) -> None:
        (host,) = manager_of(bootstrap)["route_config"]["virtual_hosts"]
        (route,) = (each["route"] for each in host["routes"] if each["match"].get("path") == f"/{VERIFY}")
        assert route["timeout"] == f"{CALL_SECONDS}s"
        route["timeout"] = "0.2s"

    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = web.options | {"verification": f"127.0.0.1:{silent.getsockname()[1]}"}
        async with running_envoy(tmp_path, options, hurry) as url:
            answer = await replace(web, url=url).post(VERIFY, question(), authorization=web.gate_token())
    assert answer.status == 504
    assert answer.json()["code"] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


@in_module
async def test_callers_are_served_over_tls(web: Web, tmp_path: Path) -> None:
    """With a certificate for callers, Envoy answers https, and nothing in plain text."""
    shown = web.guarded.certificate("services/verification/000000")
    options = web.options | {"listen-certificate": str(shown.certificate), "listen-key": str(shown.key)}
    async with running_envoy(tmp_path, options) as url:
        authorities = ssl.create_default_context(cafile=str(web.guarded.clients.root.certificate))
        secure = replace(web, url=url.replace("http:", "https:"), authorities=authorities)
        answer = await secure.post(VERIFY, question(), authorization=web.gate_token())
        with pytest.raises(OSError, match=r"closed|reset"):
            await replace(web, url=url).post(VERIFY, question())
    assert answer.status == 200
