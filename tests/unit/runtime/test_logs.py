"""Tests what the log leaves out."""

from __future__ import annotations

import logging
import sys

import pytest

from services.runtime.logs import is_worth_a_line


class ExecuteBatchError(Exception):
    """Named as gRPC's error for an answer to a connection that has ended."""


@pytest.mark.parametrize(("error", "is_written"), [(ExecuteBatchError(), False), (ValueError(), True), (None, True)])
def test_an_answer_to_a_connection_that_ended_is_not_logged(error: Exception | None, is_written: bool) -> None:
    info = None
    if error is not None:
        try:
            raise error
        except Exception:  # noqa: BLE001 - any error of a call
            info = sys.exc_info()
    record = logging.LogRecord("grpc._cython.cygrpc", logging.ERROR, "", 1, "raised in core", None, info)
    assert is_worth_a_line(record) is is_written
