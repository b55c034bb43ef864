"""`hutong decisions replay`: its exit code is for scripts that watch for faults."""

from __future__ import annotations

import pytest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run

from tests.support.client.fake_verification import serving_verification


@pytest.mark.parametrize(
    ("comparison", "code"),
    [
        ("REPLAY_COMPARISON_IDENTICAL", ExitCode.DONE),
        ("REPLAY_COMPARISON_OTHER_RULES", ExitCode.DONE),
        ("REPLAY_COMPARISON_DIFFERENT", ExitCode.DIFFERENT),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_replay_that_differs_has_an_exit_code(comparison: str, code: ExitCode, options: tuple[str, ...]) -> None:
    """Other rules may give another decision, which is no fault."""
    with serving_verification() as address:
        assert run(["decisions", "replay", comparison, *options, "--verification", address]) == code
