"""Tests of the client's public names and exceptions, so that none is added or removed by accident."""

from __future__ import annotations

import hutong_client
import pytest
from hutong_client import HutongError, errors

TREE = {
    "HutongError": "Exception",
    "InvalidArgument": "HutongError",
    "NotFound": "HutongError",
    "AlreadyExists": "HutongError",
    "FailedPrecondition": "HutongError",
    "OutOfRange": "HutongError",
    "PermissionDenied": "HutongError",
    "Unauthenticated": "HutongError",
    "NotServed": "HutongError",
    "Internal": "HutongError",
    "UploadLost": "HutongError",
    "Retryable": "HutongError",
    "Unavailable": "Retryable",
    "TlsFault": "Unavailable",
    "ResourceExhausted": "Retryable",
    "DeadlineExceeded": "Retryable",
    "ConnectionCut": "Retryable",
}
OTHERS = {
    "Acknowledged",
    "Batch",
    "Connection",
    "FieldViolation",
    "Precondition",
    "RetryPolicy",
    "Tls",
    "Totals",
    "UploadSession",
    "all_pages",
    "batches_of",
    "connect",
    "from_rpc_error",
    "from_status",
    "lets_in",
    "reasons",
    "stream_answers",
    "watch",
}


def test_public_names_are_these() -> None:
    """`__all__` lists exactly these names, and each of them exists."""
    assert set(hutong_client.__all__) == set(TREE) | OTHERS
    assert all(hasattr(hutong_client, name) for name in hutong_client.__all__)


def test_exception_tree_is_this() -> None:
    """Each exception has exactly this parent, because clients catch parents."""
    found = {
        name: value.__bases__[0].__name__
        for name, value in vars(hutong_client).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert found == TREE


@pytest.mark.parametrize("name", sorted(set(TREE) | OTHERS))
def test_public_name_is_documented(name: str) -> None:
    """Every public name has a docstring."""
    assert (getattr(hutong_client, name).__doc__ or "").strip()


def test_error_can_be_made_by_hand() -> None:
    """An error can be constructed directly, for the tests of client applications."""
    error = errors.NotFound("labs/x is not known here", errors.Details(reason="NOT_FOUND"))
    assert isinstance(error, HutongError)
    assert (str(error), error.can_be_retried) == ("labs/x is not known here (NOT_FOUND)", False)
    assert (error.message, error.reason) == ("labs/x is not known here", "NOT_FOUND")
