"""docs/laws.md names tests that exist, in the files that it names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/laws.md").read_text(encoding="utf-8")


def test_every_law_has_a_test_that_exists() -> None:
    """Each row names a file, and each name after it stands there."""
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ") and ".py`" in line]
    assert len(rows) > 25
    for _, law, proofs, _ in rows:
        for proof in proofs.split(";"):
            files = re.findall(r"`([\w/]+\.py)`", proof)
            assert files, law
            text = "".join(
                path.read_text(encoding="utf-8")
                for file in files
                for path in ROOT.glob(file if file.startswith("tests/") else f"tests/unit/**/{file}")
            )
            assert text, f"{law}: {files} do not exist"
            for name in re.findall(r"\btest_\w+\b(?!\.py)", proof):
                assert f"def {name}(" in text, f"{law}: {name} does not exist"
