"""25 checks on the client of each language, over two networks (README.md)."""

from __future__ import annotations

import pytest

from tests.support.conformance.languages import LANGUAGES
from tests.support.conformance.suite import CHECKS, NETWORKS, Suite

NAMED = [pytest.param(number, id=f"{number}-{check.__name__}") for number, check in enumerate(CHECKS, 1)]


@pytest.mark.parametrize("number", NAMED)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("network", NETWORKS)
def test_client_conforms(suite: Suite, network: str, language: str, number: int) -> None:
    """The check passes."""
    suite.wait(network, language, number)
