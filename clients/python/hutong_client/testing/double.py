"""The server of the test double: it gives recorded decisions, and the answers and failures that a test chooses."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

import grpc
from google.protobuf.json_format import ParseDict
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse, ListLabsRequest, ListLabsResponse
from hutong.results.v1.lab_service_pb2_grpc import LabServiceServicer, add_LabServiceServicer_to_server
from hutong.results.v1.upload_service_pb2_grpc import add_UploadServiceServicer_to_server
from hutong.verification.v1.decision_pb2 import (
    DECISION_OUTCOME_UNDETERMINED,
    DECISION_REASON_NO_POLICY_IN_FORCE,
    GATE_ACTION_LET_IN,
    Decision,
)
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyItem,
    VerifyRequest,
    VerifyResponse,
)
from hutong.verification.v1.verification_service_pb2_grpc import (
    VerificationServiceServicer,
    add_VerificationServiceServicer_to_server,
)

from hutong_client.connection import Connection, connect
from hutong_client.testing.failures import Failure, abort
from hutong_client.testing.uploads import Uploads

_THREADS = 16
"""The most calls at once. Each stream holds a thread."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A question of the demo and the decision that a node made."""

    title: str
    request: VerifyRequest
    decision: Decision


class Double:
    """A node in this process, on a free port of loopback, until the `with` block ends.

    Attributes:
        scenes: the questions of the demo with their decisions.
        labs: the registered laboratories, by name. A test may add laboratories.
        uploads: the uploads, which keep every accepted tube.
        calls: the full names of the methods that were called, in order.
    """

    def __init__(self) -> None:
        labs, self.scenes = _recording()
        self.labs = {lab.name: lab for lab in labs}
        self.uploads = Uploads(self.labs)
        self.calls: list[str] = []
        self.address = ""
        self._decisions = {_key(scene.request): scene.decision for scene in self.scenes}
        self._failures: dict[str, deque[Failure]] = {}
        self._server: grpc.Server | None = None

    def __enter__(self) -> Self:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS), interceptors=[_Failing(self)], options=[("grpc.so_reuseport", 0)]
        )
        # The double leaves some methods out, although the types of the stubs demand all. gRPC answers them with
        # UNIMPLEMENTED.
        add_LabServiceServicer_to_server(_Labs(self.labs), self._server)  # type: ignore[abstract]
        add_UploadServiceServicer_to_server(self.uploads, self._server)
        add_VerificationServiceServicer_to_server(_Gate(self.decide), self._server)  # type: ignore[abstract]
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.stop(0).wait()

    def connect(self) -> Connection:
        """Return a connection whose services are all this double. `aio.connect` takes `address` three times."""
        return connect(self.address, self.address, self.address, environment={})

    def answer(self, request: VerifyRequest, decision: Decision) -> None:
        """Answer a question with a decision from now on."""
        self._decisions[_key(request)] = decision

    def decide(self, request: VerifyRequest) -> Decision:
        """Return the decision for a question.

        A question without a decision is answered as in a region where no policy is published.
        """
        return self._decisions.get(_key(request)) or Decision(
            outcome=DECISION_OUTCOME_UNDETERMINED,
            reason=DECISION_REASON_NO_POLICY_IN_FORCE,
            action=GATE_ACTION_LET_IN,
        )

    def fail(self, method: str, *failures: Failure) -> None:
        """Make the next calls of a method fail, one call for each failure.

        A method is named as "hutong.results.v1.LabService/GetLab".
        """
        self._failures.setdefault(method, deque()).extend(failures)

    def next_failure(self, method: str) -> Failure | None:
        """Record a call of a method. Return the failure with which the call ends, if the test has chosen one."""
        self.calls.append(method)
        waiting = self._failures.get(method)
        return waiting.popleft() if waiting else None


@cache
def _recorded() -> Any:
    return json.loads((files("hutong_client.testing") / "demo.json").read_text(encoding="utf-8"))


def _recording() -> tuple[list[Lab], list[Scene]]:
    recorded = _recorded()
    scenes = [
        Scene(it["title"], ParseDict(it["request"], VerifyRequest()), ParseDict(it["decision"], Decision()))
        for it in recorded["scenes"]
    ]
    return [ParseDict(lab, Lab()) for lab in recorded["labs"]], scenes


def _key(request: VerifyRequest) -> bytes:
    return request.SerializeToString(deterministic=True)


class _Labs(LabServiceServicer):
    def __init__(self, labs: dict[str, Lab]) -> None:
        self._labs = labs

    def GetLab(self, request: GetLabRequest, context: grpc.ServicerContext) -> GetLabResponse:
        if request.name not in self._labs:
            abort(context, Failure(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", metadata={"resource": request.name}))
        return GetLabResponse(lab=self._labs[request.name])

    def ListLabs(self, request: ListLabsRequest, context: grpc.ServicerContext) -> ListLabsResponse:
        if request.region or request.display_name or request.display_name_prefix:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "the test double lists all laboratories only")
        return ListLabsResponse(labs=[self._labs[name] for name in sorted(self._labs)])


class _Gate(VerificationServiceServicer):
    def __init__(self, decide: Callable[[VerifyRequest], Decision]) -> None:
        self._decide = decide

    def Verify(self, request: VerifyRequest, _context: grpc.ServicerContext) -> VerifyResponse:
        return VerifyResponse(decision=self._decide(request))

    def BatchVerify(self, request: BatchVerifyRequest, _context: grpc.ServicerContext) -> BatchVerifyResponse:
        return BatchVerifyResponse(items=[VerifyItem(decision=self._decide(one)) for one in request.requests])

    def StreamVerify(
        self, requests: Iterable[StreamVerifyRequest], _context: grpc.ServicerContext
    ) -> Iterator[StreamVerifyResponse]:
        for asked in requests:
            yield StreamVerifyResponse(correlation_id=asked.correlation_id, decision=self._decide(asked.request))


class _Failing(grpc.ServerInterceptor):
    """Ends calls with the failures that a test has chosen."""

    def __init__(self, double: Double) -> None:
        self._double = double

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the handler of a call, or a handler that ends the call with a failure."""
        failure = self._double.next_failure(handler_call_details.method.strip("/"))
        if failure is None:
            return continuation(handler_call_details)
        # On the wire a unary call looks like a stream, so a handler of streams can end calls of every kind.
        return grpc.stream_stream_rpc_method_handler(lambda _requests, context: abort(context, failure))
