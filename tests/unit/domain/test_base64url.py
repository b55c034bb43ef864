"""Tests of base64url without padding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.base64url import decode_base64url, encode_base64url


@given(st.binary())
def test_what_is_encoded_comes_back(content: bytes) -> None:
    text = encode_base64url(content)
    assert decode_base64url(text) == content
    assert text.replace("-", "").replace("_", "").isalnum() or not content


@pytest.mark.parametrize("text", ["A", "AA\n", "AA AA", "AA*A", "AAA=A", "AAA+", "AAA/", "张三"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_base64url(text)
