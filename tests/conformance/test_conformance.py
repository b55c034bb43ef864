"""25 checks on the client of each language, over two networks (README.md)."""

from __future__ import annotations

import pytest

from tests.support.conformance.languages import LANGUAGES
from tests.support.conformance.suite import CHECKS, NETWORKS, Suite


@pytest.mark.parametrize("number", range(1, len(CHECKS) + 1), ids=lambda number: f"{number}-{CHECKS[number - 1].__name__}")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("network", NETWORKS)
def test_client_conforms(suite: Suite, network: str, language: str, number: int) -> None:
    """The check passes."""
    suite.wait(network, language, number)
