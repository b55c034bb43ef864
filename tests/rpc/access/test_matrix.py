"""Tests who may call what: every RPC, health and reflection, by every role, about own and others' objects.

The calls are made from the contract's options, so that a new RPC is tested without a change here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.api import resource_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hutong.access.v1 import access_pb2
from hutong.access.v1.access_pb2 import Grant

from tests.support.access.guarded import (
    CALLERS,
    CASE,
    OTHER_LAB,
    OTHER_REGION,
    OTHER_USER,
    REGION,
    USER,
    Guarded,
    open_guarded,
    outcome,
    outcome_of,
)
from tests.support.access.methods import METHODS, find_call
from tests.support.databases import SqliteDatabases
from tests.support.errors import error_info
from tests.support.results.factories import LAB_NAME, make_document
from tests.support.waiting import TIMEOUT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}
BROKEN = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
}
SERVERS = {
    "hutong.results": "results",
    "hutong.exchange.v1.ExchangeService": "results",
    "hutong.policy": "policy",
    "hutong.approval": "results",
}
ALWAYS_OWN = {"filter.labs"}
"""Filters that are set to the caller's own, whatever the request states."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    async with open_guarded(tmp_path_factory.mktemp("guarded"), sqlite_databases.make) as opened:
        yield opened


def grants_of(method: MethodDescriptor) -> list[Grant]:
    return list(method.GetOptions().Extensions[access_pb2.access].grants)


def role_of(grant: Grant) -> str:
    return access_pb2.Role.Name(grant.role).removeprefix("ROLE_").lower()


def object_of(field: FieldDescriptor, path: str, which: str, guarded: Guarded) -> Any:
    """Return a value for a field that belongs to the callers, or to others."""
    own = which == "own"
    if field.message_type is not None:
        return make_document(USER if own else OTHER_USER)
    lab, region = (LAB_NAME, REGION) if own else (OTHER_LAB, OTHER_REGION)
    if path == "code":
        return guarded.codes[which]
    if path == "policy.name":
        return f"jurisdictions/{region}/policies/p"
    kind = field.GetOptions().Extensions[resource_pb2.resource_reference].type.removeprefix("hutong.org/")
    return {
        "Lab": lab,
        "Result": f"{lab}/results/R{USER if own else OTHER_USER}",
        "MissingReport": f"{lab}/missingReports/R1",
        "Upload": f"{lab}/uploads/u",
        "Policy": f"jurisdictions/{region}/policies/p",
        "Node": f"nodes/{region}",
        "Decision": guarded.decisions[which],
        "Refusal": guarded.refusals[which],
        "EvidenceCase": guarded.cases[which],
        "PendingChange": guarded.changes[which],
        "EmergencyGrant": guarded.grants[which],
        "LegalHold": guarded.holds[which],
        "": "220502" if own else "410105",
    }[kind]


def request_of(method: MethodDescriptor, path: str, which: str, guarded: Guarded) -> Any:
    """Return a request that states the field at a path and nothing else."""
    request = message = message_factory.GetMessageClass(method.input_type)()
    *parents, last = path.replace("[]", "").split(".") if path else [""]
    for name in parents:
        repeated = message.DESCRIPTOR.fields_by_name[name].is_repeated
        message = getattr(message, name).add() if repeated else getattr(message, name)
    if not last:
        return request
    field = message.DESCRIPTOR.fields_by_name[last]
    value = object_of(field, path, which, guarded)
    if field.message_type is not None:
        getattr(message, last).CopyFrom(value)
    elif field.is_repeated:
        getattr(message, last).append(value)
    else:
        setattr(message, last, value)
    return request


async def call(
    guarded: Guarded, method: MethodDescriptor, caller: str, request: Any, metadata: Any = ()
) -> tuple[grpc.StatusCode, Any]:
    """Call any RPC with one request. Return the code and the answer; of a batch, those of its last item."""
    service = method.containing_service.full_name
    server = next((name for prefix, name in SERVERS.items() if service.startswith(prefix)), "verification")
    channel = await guarded.channel(server, caller)
    start = find_call(
        channel,
        method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    code, answer = await outcome_of(
        lambda: start(
            iter([request]) if method.client_streaming else request, metadata=metadata, timeout=TIMEOUT_SECONDS
        )
    )
    item = answer.items[-1] if code is grpc.StatusCode.OK and hasattr(answer, "items") and answer.items else answer
    if code is grpc.StatusCode.OK and hasattr(item, "error") and item.HasField("error"):
        return next(known for known in grpc.StatusCode if known.value[0] == item.error.code), answer
    return code, answer


def is_lacking(grants: list[Grant], role: str, path: str) -> bool:
    """Return whether a request with only the field at a path states nothing that a grant of the role is about."""
    own = [grant.field for grant in grants if role_of(grant) == role]
    return bool(own) and "" not in own and path not in own


def expected(grants: list[Grant], role: str, path: str, which: str, *, case: bool) -> bool:
    """Return whether the contract permits a request that states only the field at a path."""
    for grant in grants:
        if role_of(grant) != role or (grant.needs_case and not case):
            continue
        if grant.field in {"", path}:
            owned = grant.bind == access_pb2.BIND_ANY or which == "own"
            if owned or (grant.bind == access_pb2.BIND_OWN_LAB and path in ALWAYS_OWN):
                return True
        elif grant.may_omit or (not path and "[]" in grant.field):
            # An absent filter is the caller's own, and a batch without items is about no person.
            return True
    return False


def cells() -> Iterator[tuple[MethodDescriptor, str, str, bool]]:
    """Yield each method with each field that a grant is about, own and another's, with and without a case."""
    for method in METHODS:
        grants = grants_of(method)
        cases = (True, False) if any(grant.needs_case for grant in grants) else (True,)
        for path in sorted({grant.field for grant in grants}):
            for which in ("own", "other") if path else ("own",):
                for case in cases:
                    yield method, path, which, case


async def test_the_contract_is_what_the_servers_do(guarded: Guarded) -> None:
    """Each cell of the matrix: a call goes on exactly where a grant permits it, or lacks what the grants are about."""
    wrong = []
    count = 0
    for method, path, which, case in cells():
        for role, caller in CALLERS.items():
            of_supervisors = path == "name" or method.name == "OpenEmergencyGrant"
            if role == "authority" and of_supervisors and method.containing_service.name == "ApprovalService":
                # Authorities decide at Policy (test_approvals.py). Supervisors decide here.
                continue
            metadata = [pair for pair in guarded.metadata(caller) if case or pair != CASE]
            request = request_of(method, path, which, guarded)
            code, answer = await call(guarded, method, caller, request, metadata)
            permitted = expected(grants_of(method), role, path, which, case=case)
            count += 1
            lacking = not permitted and is_lacking(grants_of(method), role, path)
            right = code is grpc.StatusCode.INVALID_ARGUMENT if lacking else (code not in REFUSED) == permitted
            if code in BROKEN or not right:
                wrong.append((method.name, path, which, case, role, code.name, permitted, str(answer)[:300]))
    assert not wrong, "\n".join(map(str, wrong))
    assert count > 9 * len(METHODS)


async def test_what_is_anothers_answers_as_if_it_did_not_exist(guarded: Guarded) -> None:
    """The status of another's object differs from that of an object that does not exist by its name alone."""
    hidden = {
        ("lab", "GetResult"): (f"{OTHER_LAB}/results/R2", f"{LAB_NAME}/results/R999"),
        ("lab", "GetUpload"): (f"{OTHER_LAB}/uploads/u", f"{LAB_NAME}/uploads/none"),
        ("supervisor", "GetResult"): (f"{OTHER_LAB}/results/R2", f"{LAB_NAME}/results/R999"),
        ("supervisor", "GetRefusal"): (guarded.refusals["other"], f"refusals/{'0' * 8}-0000-7000-8000-{'0' * 12}"),
        ("supervisor", "GetCase"): (guarded.cases["other"], f"cases/{'0' * 8}-0000-7000-8000-{'0' * 12}"),
        ("supervisor", "LiftLegalHold"): (guarded.holds["other"], f"legalHolds/{'0' * 8}-0000-7000-8000-{'0' * 12}"),
        ("app", "GetRefusal"): (guarded.refusals["other"], f"refusals/{'0' * 8}-0000-7000-8000-{'0' * 12}"),
        ("authority", "GetDecision"): (guarded.decisions["other"], f"decisions/{'0' * 8}-0000-7000-8000-{'0' * 12}"),
    }
    methods = {method.name: method for method in METHODS}
    for (role, name), objects in hidden.items():
        statuses = []
        for named in objects:
            request = message_factory.GetMessageClass(methods[name].input_type)(name=named)
            code, error = await call(guarded, methods[name], CALLERS[role], request, guarded.metadata(CALLERS[role]))
            assert code is grpc.StatusCode.NOT_FOUND, (role, name, named, error)
            info = error_info(error)
            statuses.append(
                (error.details().replace(named, ""), info.reason, dict(info.metadata) == {"resource": named})
            )
        assert statuses[0] == statuses[1]


async def test_a_refusal_names_the_role_and_what_is_needed(guarded: Guarded) -> None:
    method = next(method for method in METHODS if method.name == "SetLabStanding")
    code, error = await call(guarded, method, CALLERS["gate"], request_of(method, "name", "own", guarded))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert error_info(error).reason == "NOT_PERMITTED"
    assert dict(error_info(error).metadata) == {"role": "gate", "needed": "supervisor: own region in name"}


@pytest.mark.parametrize(("role", "path"), [("gate", "requests[].region"), ("app", "requests[].document")])
async def test_items_of_a_batch_are_permitted_one_by_one(guarded: Guarded, role: str, path: str) -> None:
    method = next(method for method in METHODS if method.name == "BatchVerify")
    request = request_of(method, path, "other", guarded)
    own = request_of(method, path, "own", guarded).requests[0]
    request.requests.append(own)
    request.requests.insert(0, own)
    _, answer = await call(guarded, method, CALLERS[role], request, guarded.metadata(CALLERS[role]))
    permission_denied, invalid = grpc.StatusCode.PERMISSION_DENIED.value[0], grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [item.error.code for item in answer.items] == [invalid, permission_denied, invalid]


async def test_a_batch_over_the_limit_is_refused_before_its_items_are_looked_at(guarded: Guarded) -> None:
    """The limit holds for permitted and refused items together."""
    method = next(method for method in METHODS if method.name == "BatchVerify")
    request = request_of(method, "requests[].region", "other", guarded)
    own = request_of(method, "requests[].region", "own", guarded).requests[0]
    request.requests.extend([own] * 300 + [request.requests[0]] * 200)
    code, error = await call(guarded, method, CALLERS["gate"], request, guarded.metadata(CALLERS["gate"]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "requests: must have at most 500 items" in error.details()


async def test_a_watch_is_narrowed_to_what_is_the_callers_own(guarded: Guarded) -> None:
    """A laboratory sees its own results whatever its filter, and a supervisor those of its region."""
    method = next(method for method in METHODS if method.name == "WatchResults")
    channel_of = guarded.channel
    seen: dict[str, set[str]] = {}
    for role, labs in (("lab", [OTHER_LAB]), ("lab", []), ("supervisor", []), ("operator", [])):
        request = message_factory.GetMessageClass(method.input_type)()
        request.filter.labs.extend(labs)
        watch = (await channel_of("results", CALLERS[role])).unary_stream(
            "/hutong.results.v1.ResultsService/WatchResults",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )(request, timeout=TIMEOUT_SECONDS)
        while not (message := await watch.read()).HasField("checkpoint"):
            seen.setdefault(f"{role} {len(labs)}", set()).add(message.change.name.partition("/results/")[0])
        watch.cancel()
    both = {LAB_NAME, OTHER_LAB}
    assert seen == {"lab 1": {LAB_NAME}, "lab 0": {LAB_NAME}, "supervisor 0": {LAB_NAME}, "operator 0": both}


async def test_only_the_nations_authority_publishes_floors(guarded: Guarded) -> None:
    """A province's authority publishes rules of its region. A floor is refused before its faults are looked for."""
    method = next(method for method in METHODS if method.name == "PublishPolicy")
    request = request_of(method, "policy.name", "own", guarded)
    own, nation = CALLERS["authority"], "authorities/000000"
    request.policy.floor = False
    assert (await call(guarded, method, own, request))[0] is grpc.StatusCode.INVALID_ARGUMENT
    request.policy.floor = True
    code, error = await call(guarded, method, own, request)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert error_info(error).metadata["needed"] == "authority: own region 000000 for a floor"
    assert (await call(guarded, method, nation, request))[0] is grpc.StatusCode.INVALID_ARGUMENT


def _reflect(stub: Any, asked: Any) -> Any:
    return stub.ServerReflectionInfo(iter([asked]))


async def test_health_answers_all_and_reflection_operators(guarded: Guarded) -> None:
    for role, caller in CALLERS.items():
        for service in guarded.addresses:
            channel = await guarded.channel(service, caller)
            health = health_pb2_grpc.HealthStub(channel)
            code, _ = await outcome(health.Check(health_pb2.HealthCheckRequest()))  # type: ignore[attr-defined]
            assert code is grpc.StatusCode.OK
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
            code, _ = await outcome_of(partial(_reflect, stub, asked))
            wanted = grpc.StatusCode.OK if role == "operator" else grpc.StatusCode.PERMISSION_DENIED
            assert code is wanted, role
