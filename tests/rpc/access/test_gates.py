"""What gates must state, and what gates and apps see of a decision, by real servers over mutual TLS."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong.access.v1 import access_pb2
from hutong.access.v1.access_pb2 import VIEW_FULL, VIEW_MINIMAL
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.holder_token_service_pb2 import IssueHolderTokenRequest
from hutong.verification.v1.holder_token_service_pb2_grpc import HolderTokenServiceStub
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    GetDecisionRequest,
    ReplayDecisionRequest,
    StreamVerifyRequest,
    VerifyRequest,
)
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub
from hutong_client.cli.exit_codes import ExitCode
from sqlalchemy import create_engine

from services.verification.schema import metadata
from services.verification.verify.convert import COMPARE_NAME
from tests.support.access.command import hutong
from tests.support.access.guarded import CALLERS, CASE, REGION, USER, Guarded, open_guarded
from tests.support.databases import SqliteDatabases
from tests.support.errors import detail_of, failure_of
from tests.support.policy.service import make_policy
from tests.support.results.factories import make_document
from tests.support.waiting import TIMEOUT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")
STRANGER = 77
"""A person of whom nothing is recorded."""
NOT_PERMITTED = (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED", [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    async with open_guarded(tmp_path_factory.mktemp("guarded"), sqlite_databases.make) as opened:
        rules = PolicyAdminServiceStub(await opened.channel("policy", f"authorities/{REGION}"))
        hotel = make_policy(f"jurisdictions/{REGION}/policies/hotel", advice=["show the code"])
        hotel.forbidden_grounds.append(refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY)
        hotel.source.CopyFrom(policy_pb2.PolicySource(document_number="1", title="made up"))
        await rules.PublishPolicy(PublishPolicyRequest(policy=hotel))
        yield opened


async def stub_of(guarded: Guarded, name: str) -> Any:
    return VerificationServiceStub(await guarded.channel("verification", name))


def question(person: int = USER, view: access_pb2.View.ValueType = access_pb2.VIEW_UNSPECIFIED) -> VerifyRequest:
    return VerifyRequest(
        document=make_document(person),
        region="220502",
        purpose=purpose_pb2.PURPOSE_HOTEL,
        view=view,
        store_decision=True,
    )


async def ask_in_all_ways(stub: Any, questions: Sequence[VerifyRequest], metadata: Any = ()) -> list[list[Message]]:
    """Ask questions by Verify, in a batch and on a stream. Return the decisions or errors, in order."""
    alone: list[Message] = []
    for one in questions:
        try:
            alone.append((await stub.Verify(one, metadata=metadata, timeout=TIMEOUT_SECONDS)).decision)
        except grpc.aio.AioRpcError as error:
            alone.append(status_pb2.Status(code=error.code().value[0]))
    batch = await stub.BatchVerify(BatchVerifyRequest(requests=questions), metadata=metadata, timeout=TIMEOUT_SECONDS)
    frames = [StreamVerifyRequest(correlation_id=str(mark), request=one) for mark, one in enumerate(questions)]
    answers = [answer async for answer in stub.StreamVerify(iter(frames), metadata=metadata, timeout=TIMEOUT_SECONDS)]
    streamed = sorted(answers, key=lambda answer: int(answer.correlation_id))
    return [alone, *([getattr(item, item.WhichOneof("item")) for item in items] for items in (batch.items, streamed))]


def beyond_minimal(message: Message) -> set[str]:
    """Return the set fields of a decision that are not in the minimal view."""
    return {field.name for field, _ in message.ListFields() if not field.GetOptions().Extensions[access_pb2.minimal]}


async def test_a_gate_sees_only_the_minimal_view(guarded: Guarded) -> None:
    """No other field is set in any call, whether or not something is recorded. The stored decision is whole."""
    stub = await stub_of(guarded, CALLERS["gate"])
    officer = await stub_of(guarded, CALLERS["supervisor"])
    for answers in await ask_in_all_ways(stub, [question(), question(STRANGER), question(view=VIEW_MINIMAL)]):
        recognized, lack, asked = answers
        for answer in answers:
            assert isinstance(answer, Decision)
            assert beyond_minimal(answer) == set()
            whole = (await officer.GetDecision(GetDecisionRequest(name=answer.name), metadata=(CASE,))).decision
            assert {"use_time", "evaluate_time", "sources"} <= beyond_minimal(whole)
            assert whole.outcome == answer.outcome
        assert isinstance(recognized, Decision)
        assert recognized.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED
        assert isinstance(lack, Decision)
        assert lack.reason == decision_pb2.DECISION_REASON_NO_RESULT
        assert {field.name for field, _ in asked.ListFields()} == {
            "name",
            "outcome",
            "reason",
            "expire_time",
            "governing_policy",
            "governing_source",
            "advice",
            "forbidden_grounds",
            "action",
            "action_text",
        }


async def test_who_asks_for_more_than_it_may_see_is_refused_by_item(guarded: Guarded) -> None:
    """The refused item says nothing of the person, and harms no other item and no stream."""
    stub = await stub_of(guarded, CALLERS["gate"])
    for answers in await ask_in_all_ways(stub, [question(view=VIEW_FULL), question()]):
        refused, answered = answers
        assert isinstance(refused, status_pb2.Status)
        assert refused.code == code_pb2.PERMISSION_DENIED
        assert isinstance(answered, Decision)
    (item,) = (await stub.BatchVerify(BatchVerifyRequest(requests=[question(view=VIEW_FULL)]))).items
    info = detail_of(item.error, error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"role": "gate", "needed": "view: VIEW_MINIMAL"}
    assert await failure_of(stub.Verify(question(view=VIEW_FULL))) == NOT_PERMITTED


async def test_an_app_sees_all_of_its_own_users_decision_unless_it_asks_for_less(guarded: Guarded) -> None:
    app = CALLERS["app"]
    stub = await stub_of(guarded, app)
    asked = [question(), question(view=VIEW_FULL), question(view=VIEW_MINIMAL)]
    for answers in await ask_in_all_ways(stub, asked, guarded.metadata(app)):
        assert [bool(beyond_minimal(answer)) for answer in answers] == [True, True, False]
        assert all(getattr(answer, "considered", None) for answer in answers[:2])


async def test_an_officer_sees_all_of_a_stored_decision_unless_it_asks_for_less(guarded: Guarded) -> None:
    """The comparison of a replay is that of the whole decisions."""
    stub = await stub_of(guarded, CALLERS["authority"])
    name = guarded.decisions["own"]
    whole = await stub.GetDecision(GetDecisionRequest(name=name), metadata=(CASE,))
    assert whole.HasField("inputs")
    assert beyond_minimal(whole.decision)
    less = await stub.GetDecision(GetDecisionRequest(name=name, view=VIEW_MINIMAL), metadata=(CASE,))
    assert not less.HasField("inputs")
    assert beyond_minimal(less.decision) == set()
    for view, is_cut in ((VIEW_FULL, False), (VIEW_MINIMAL, True)):
        again = await stub.ReplayDecision(ReplayDecisionRequest(name=name, view=view), metadata=(CASE,))
        assert again.comparison == 1
        assert (beyond_minimal(again.decision) == set()) is is_cut


async def test_a_gate_states_number_and_name(guarded: Guarded) -> None:
    """A question without a name is refused by itself, and a mask is no name."""
    stub = await stub_of(guarded, CALLERS["gate"])
    bare, masked = question(), question()
    bare.document.name, masked.document.name = "", "王*"
    for answers in await ask_in_all_ways(stub, [bare, masked, question()]):
        assert [getattr(answer, "code", None) for answer in answers[:2]] == [code_pb2.INVALID_ARGUMENT] * 2
        assert isinstance(answers[2], Decision)
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["document.name"])
    assert await failure_of(stub.Verify(bare)) == invalid
    # All faults are told at once.
    bare.region = "220599"
    assert (await failure_of(stub.Verify(bare)))[2] == ["document.name", "region"]


async def test_another_name_is_answered_as_a_person_without_results(guarded: Guarded) -> None:
    """The answer has as many rows too. Every lack advises comparing number and name with the document."""
    stub = await stub_of(guarded, CALLERS["gate"])
    other, variant = question(), question()
    other.document.name, variant.document.name = "李四", " 王\u3000芳"
    for answers in await ask_in_all_ways(stub, [other, question(STRANGER), variant]):
        wrong, stranger, right = answers
        for answer in (wrong, stranger):
            answer.ClearField("name")
        assert wrong == stranger
        assert isinstance(wrong, Decision)
        assert wrong.reason == decision_pb2.DECISION_REASON_NO_RESULT
        assert list(wrong.advice) == ["show the code", COMPARE_NAME]
        assert isinstance(right, Decision)
        assert right.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED
        assert list(right.advice) == ["show the code"]
    added = []
    for one in (other, question(STRANGER)):
        before = rows_of(guarded)
        await stub.Verify(one)
        added.append([after - count for after, count in zip(rows_of(guarded), before, strict=True)])
    assert added[0] == added[1]
    assert any(added[0])


def rows_of(guarded: Guarded) -> list[int]:
    """Return the number of rows in each table of Verification."""
    engine = create_engine(guarded.settings.verification.database_url)
    with engine.connect() as connection:
        # Seals and counts of decisions are added by the clock.
        tables = sorted(table for table in metadata.tables if not table.endswith(("_seals", "decision_counts")))
        counts = [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables]
    engine.dispose()
    return counts


async def test_the_name_of_a_user_who_signed_in_is_not_compared(guarded: Guarded) -> None:
    app = CALLERS["app"]
    stub = await stub_of(guarded, app)
    for name in ("", "somebody else"):
        asked = question()
        asked.document.name = name
        decision = (await stub.Verify(asked, metadata=guarded.metadata(app))).decision
        assert decision.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED


async def issue(guarded: Guarded, purpose: int = 0) -> str:
    app = CALLERS["app"]
    stub = HolderTokenServiceStub(await guarded.channel("verification", app))
    request = IssueHolderTokenRequest(document=make_document(USER), purpose=purpose)  # type: ignore[arg-type]
    return (await stub.IssueHolderToken(request, metadata=guarded.metadata(app))).holder_token


def shown(holder_token: str) -> VerifyRequest:
    asked = question()
    asked.holder_token = holder_token
    return asked


async def test_a_gate_reads_a_holders_token_in_place_of_number_and_name(guarded: Guarded) -> None:
    """The answer has the masked name. A token is good for one question, which may be asked again."""
    stub = await stub_of(guarded, CALLERS["gate"])
    tokens = [await issue(guarded) for _ in range(3)]
    once = (("x-request-id", "first"),)
    for repeated in (once, once):
        decision = (await stub.Verify(shown(tokens[0]), metadata=repeated)).decision
        assert decision.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED
        assert decision.masked_name == "王*"
        assert beyond_minimal(decision) == set()
    used = (grpc.StatusCode.INVALID_ARGUMENT, "HOLDER_TOKEN_USED", ["holder_token"])
    assert await failure_of(stub.Verify(shown(tokens[0]))) == used
    batch = BatchVerifyRequest(requests=[shown(tokens[1]), question(), shown(tokens[0]), shown(tokens[2])])
    items = (await stub.BatchVerify(batch)).items
    assert [item.decision.masked_name for item in items] == ["王*", "", "", "王*"]
    assert [item.error.code for item in items] == [0, 0, code_pb2.INVALID_ARGUMENT, 0]
    frames = [StreamVerifyRequest(correlation_id="1", request=shown(await issue(guarded)))] * 2
    frames.append(StreamVerifyRequest(correlation_id="2", request=frames[0].request))
    answers = [answer async for answer in stub.StreamVerify(iter(frames), timeout=TIMEOUT_SECONDS)]
    assert sorted((answer.correlation_id, answer.HasField("decision")) for answer in answers) == [
        ("1", True),
        ("1", True),
        ("2", False),
    ]
    officer = await stub_of(guarded, CALLERS["supervisor"])
    stored = (await officer.GetDecision(GetDecisionRequest(name=decision.name), metadata=(CASE,))).decision
    assert stored.masked_name == ""


async def test_a_token_has_a_name_to_compare(guarded: Guarded) -> None:
    """A holder's token is refused for a document without a name and for a masked name.

    A gate compares the name with the person's. Without a name the gate would admit everybody who shows the token.
    """
    app = CALLERS["app"]
    stub = HolderTokenServiceStub(await guarded.channel("verification", app))
    for name in ("", "王*"):
        request = IssueHolderTokenRequest(document=make_document(USER))
        request.document.name = name
        refused = await failure_of(stub.IssueHolderToken(request, metadata=guarded.metadata(app)))
        assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["document.name"])


async def test_a_question_with_a_token_is_asked_again_in_any_company(guarded: Guarded) -> None:
    """A question with an id may be asked again in any batch. A question without an id can be asked only once."""
    stub = await stub_of(guarded, CALLERS["gate"])
    frames = [StreamVerifyRequest(correlation_id=f"again-{i}", request=shown(await issue(guarded))) for i in range(9)]
    for asked in (frames, frames[::-1]):
        answers = [answer async for answer in stub.StreamVerify(iter(asked), timeout=TIMEOUT_SECONDS)]
        assert [answer.HasField("decision") for answer in answers] == [True] * 9
    token = await issue(guarded)
    named = (("x-request-id", "batch-again"),)
    for first in (shown("cut"), question(), shown(token)):
        batch = BatchVerifyRequest(requests=[first, shown(token)])
        items = (await stub.BatchVerify(batch, metadata=named)).items
        assert [item.HasField("decision") for item in items] == [first.HasField("document"), True]
    unnamed = [StreamVerifyRequest(request=shown(await issue(guarded)))] * 2
    answers = [answer async for answer in stub.StreamVerify(iter(unnamed), timeout=TIMEOUT_SECONDS)]
    assert sorted(answer.HasField("decision") for answer in answers) == [False, True]


async def test_tokens_for_another_purpose_and_texts_that_are_none_are_refused(guarded: Guarded) -> None:
    stub = await stub_of(guarded, CALLERS["gate"])
    venue = await issue(guarded, purpose_pb2.PURPOSE_PUBLIC_VENUE)
    other = (grpc.StatusCode.INVALID_ARGUMENT, "HOLDER_TOKEN_OTHER_PURPOSE", ["holder_token"])
    assert await failure_of(stub.Verify(shown(venue))) == other
    garbled = (grpc.StatusCode.INVALID_ARGUMENT, "HOLDER_TOKEN_INVALID", ["holder_token"])
    assert await failure_of(stub.Verify(shown(venue[:-5]))) == garbled


async def test_the_command_issues_and_shows_a_token(
    guarded: Guarded, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = CALLERS["app"]
    sign_in = guarded.directory / "sign-in.jwt"
    sign_in.write_text(guarded.token(guarded.certificate(app))[1].removeprefix("Bearer "))
    number = make_document(USER).number

    async def hutong_reading(text: str, caller: str, *arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return await hutong(guarded, capsys, caller, *arguments)

    person = ("--number", "-", "--name", make_document(USER).name)
    issue_token = ("holder-token", "issue", *person, "--sign-in-file", str(sign_in))
    code, (token,) = await hutong_reading(number, app, *issue_token)
    assert code == ExitCode.DONE
    asked = ("verify", "--token", "-", "--region", "220502", "--purpose", "hotel")
    code, lines = await hutong_reading(token, CALLERS["gate"], *asked)
    assert (code, "  Holder: 王*" in lines) == (ExitCode.DONE, True)
    assert (await hutong_reading(token, CALLERS["gate"], *asked))[0] == ExitCode.FAILED
    assert (await hutong_reading(number, CALLERS["gate"], *asked, *person))[0] == ExitCode.USAGE
