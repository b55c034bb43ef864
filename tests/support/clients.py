"""The clients of other languages, and the tools that they need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"
TOOLS = {"go": "go", "typescript": "npm", "java": "mvn"}


def has_tool(language: str) -> bool:
    """Return whether the tool of a language is installed. Python needs no other one."""
    return language not in TOOLS or shutil.which(TOOLS[language]) is not None


def require(language: str) -> None:
    """Skip a test with a message if the language's tool is not installed. In CI the test fails."""
    if not has_tool(language):
        message = f"{TOOLS[language]} is not installed: clients/{language} is not tested"
        assert not os.environ.get("CI"), message
        pytest.skip(message)
