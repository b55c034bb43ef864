"""`hutong watch results`: the file of the cursor is true however the watch ends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.result_pb2 import TestResult as Result
from hutong.results.v1.results_service_pb2 import WatchResultsRequest, WatchResultsResponse
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceServicer, add_ResultsServiceServicer_to_server
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run

from tests.support.client.fake_server import serving_fake


class Breaking(ResultsServiceServicer):
    """Sends three changes, each with its number as cursor, and then refuses."""

    def WatchResults(
        self, request: WatchResultsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchResultsResponse]:
        for number in range(int(request.cursor or 0) + 1, 4):
            yield WatchResultsResponse(change=Result(name=f"labs/1/results/{number}"), cursor=str(number))
        context.abort(grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TOO_OLD")


@pytest.fixture
def address() -> Iterator[str]:
    with serving_fake(partial(add_ResultsServiceServicer_to_server, Breaking())) as address:
        yield address


def test_cursor_is_kept_when_the_watch_fails(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No heartbeat came; the next run goes on after the last change that was printed."""
    cursor = tmp_path / "cursor"
    watch = ["watch", "results", "--results", address, "--cursor-file", str(cursor)]
    assert run([*watch, "--cursor", "1"]) == ExitCode.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert ["results/2@0" in lines[0], "results/3@0" in lines[1], len(lines)] == [True, True, 2]
    assert cursor.read_text(encoding="utf-8") == "3\n"
    assert run(watch) == ExitCode.FAILED
    assert not capsys.readouterr().out
