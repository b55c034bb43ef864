"""The deny-list: what a line may say, and whom it shuts out."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.configuration.variables import BadSetting
from services.runtime.server.access.deny_list import DenyList, read_deny_list
from tests.support.pages import block


def test_a_line_is_a_serial_number_or_a_caller(tmp_path: Path) -> None:
    """Serial numbers are accepted as openssl prints them, with and without colons.

    Comments and empty lines are skipped.
    """
    file = tmp_path / "denied"
    file.write_text("# of March\n\n3B0C91A2  # stolen\n0a:ff:01\nF\nspiffe://hutong.org/gates/410100/7\n")
    found = read_deny_list(file, "hutong.org")
    assert found.serials == {0x3B0C91A2, 0x0AFF01, 0xF}
    assert found.names == {"gates/410100/7"}


def test_the_list_of_the_page_is_accepted(tmp_path: Path) -> None:
    """The list has a certificate and a caller."""
    file = tmp_path / "denied"
    file.write_text(block("docs/tls.md", "conf"))
    assert read_deny_list(file, "hutong.org") == DenyList(frozenset({0x3B0C91A2}), frozenset({"gates/410100/7"}))


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("gates/410100/7", "must be a serial number in hexadecimal or a SPIFFE ID"),
        ("0x3B", "must be a serial number"),
        ("3B0C 91A2", "must be a serial number"),
        ("1" * 41, "must be a serial number"),
        ("spiffe://elsewhere.example/gates/410100/7", "names no caller under spiffe://hutong.org/"),
        ("spiffe://hutong.org/gates/410100", "names no caller"),
    ],
)
def test_a_wrong_line_refuses_the_whole_list(line: str, cause: str, tmp_path: Path) -> None:
    """A misspelt line would let in whom it ought to shut out."""
    file = tmp_path / "denied"
    file.write_text(f"3B0C91A2\n{line}\n")
    with pytest.raises(BadSetting, match=f"line 2: {cause}"):
        read_deny_list(file, "hutong.org")


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="HUTONG_DENY_FILE cannot be read"):
        read_deny_list(tmp_path / "none", "hutong.org")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="UTF-8"):
        read_deny_list(tmp_path / "binary", "hutong.org")
