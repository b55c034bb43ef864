"""Changes that wait for a second approver: `hutong recall` and `unlink` name them and say how to approve them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import partial

import grpc
import pytest
from hutong.approval.v1.pending_change_pb2 import (
    PENDING_CHANGE_STATE_PENDING,
    PENDING_CHANGE_STATE_REJECTED,
    PendingChange,
)
from hutong.results.v1.document_link_service_pb2 import UnlinkDocumentsRequest, UnlinkDocumentsResponse
from hutong.results.v1.document_link_service_pb2_grpc import (
    DocumentLinkServiceServicer,
    add_DocumentLinkServiceServicer_to_server,
)
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest, RecallResultsResponse
from hutong.results.v1.results_admin_service_pb2_grpc import (
    ResultsAdminServiceServicer,
    add_ResultsAdminServiceServicer_to_server,
)
from hutong_client.cli.commands.pending import describe_waiting
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run

from tests.support.client.fake_server import serving_fake
from tests.support.client.laboratory_files import CARDS

CHANGE = PendingChange(name="pendingChanges/1", state=PENDING_CHANGE_STATE_PENDING, item_count=1_200)
DAY = ("--from", "2022-08-09T00:00:00+08:00", "--to", "2022-08-10T00:00:00+08:00")
RECALL = ("recall", "91220502MA000LAB8G", *DAY, "--reason", "contaminated reagents")


class Approving(ResultsAdminServiceServicer, DocumentLinkServiceServicer):
    """Counts 1,200 results and lets every change wait. Keeps the requests and the case of the last call."""

    def __init__(self) -> None:
        self.asked: list[RecallResultsRequest] = []
        self.case: list[str] = []

    def RecallResults(self, request: RecallResultsRequest, _context: grpc.ServicerContext) -> RecallResultsResponse:
        self.asked.append(request)
        if request.validate_only:
            return RecallResultsResponse(recalled_count=1_200)
        return RecallResultsResponse(pending_change=CHANGE)

    def UnlinkDocuments(
        self, _request: UnlinkDocumentsRequest, context: grpc.ServicerContext
    ) -> UnlinkDocumentsResponse:
        self.case = [str(value) for key, value in context.invocation_metadata() if key == "hutong-case"]
        return UnlinkDocumentsResponse(pending_change=PendingChange(name=CHANGE.name, state=CHANGE.state, item_count=1))


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Approving, str]]:
    service = Approving()
    with serving_fake(
        partial(add_ResultsAdminServiceServicer_to_server, service),
        partial(add_DocumentLinkServiceServicer_to_server, service),
    ) as address:
        yield service, address


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_recall_that_waits_is_named(node: tuple[Approving, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The recall is counted first. With --json the output is the change as in the contract."""
    service, address = node
    service.asked.clear()
    assert run([*RECALL, "--yes", "--results", address]) == ExitCode.DONE
    told = capsys.readouterr()
    assert "1,200 results of labs/91220502MA000LAB8G would be recalled" in told.err
    assert "Nothing is changed yet. pendingChanges/1 of 1,200 results waits" in told.out
    assert "hutong pending approve pendingChanges/1" in told.out
    assert [it.validate_only for it in service.asked] == [True, False]
    assert run([*RECALL, "--yes", "--json", "--results", address]) == ExitCode.DONE
    answer = json.loads(capsys.readouterr().out)
    assert (answer["recalled_count"], answer["pending_change"]["name"]) == ("0", "pendingChanges/1")


@pytest.mark.parametrize(("answer", "calls"), [("y\n", 2), ("n\n", 1)])
def test_terminal_is_asked(
    node: tuple[Approving, str], monkeypatch: pytest.MonkeyPatch, answer: str, calls: int
) -> None:
    """A no leaves everything as it is."""
    service, address = node
    service.asked.clear()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    code = run([*RECALL, "--results", address])
    assert code == (ExitCode.DONE if calls == 2 else ExitCode.INTERRUPTED)
    assert len(service.asked) == calls


def test_unlinking_that_waits_is_named(node: tuple[Approving, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The call has the number of its case."""
    service, address = node
    documents = ("--number", CARDS[0], "--linked-number", CARDS[1], "--reason", "two persons")
    assert run(["unlink", *documents, "--case", "2022-0815", "--results", address]) == ExitCode.DONE
    assert "pendingChanges/1 waits for a second approver" in capsys.readouterr().out
    assert service.case == ["2022-0815"]


def test_decided_change_is_told_by_its_state() -> None:
    """A repeat of a call may find its change decided."""
    assert describe_waiting(PendingChange(name="pendingChanges/2", state=PENDING_CHANGE_STATE_REJECTED)) == (
        "pendingChanges/2: rejected"
    )
