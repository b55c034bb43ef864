"""Signed reports: made, read and verified offline; whatever is changed is noticed."""

from __future__ import annotations

import base64

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hutong_client.reports import signed as signed_reports
from hutong_client.reports.signed import PREFIX, BadSignedReport, PrivateKey, SealedReport, SignedReport
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS: list[PrivateKey] = [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())]
PUBLIC = [signed_reports.to_der(key.public_key()) for key in KEYS]
NUMBER = "410105186001010019"
REPORT = SignedReport("91410100MA0000001X", "R1", "", 2, 1_660_150_800, 1_660_183_200)
VECTOR = (
    "d28443a10127a104483132333435363738477061796c6f616458406f0a9fa269c3eefd26fda24b1f04739bb961b3713ef44b"
    "bdb9e113c917f8d48146f99700c34a17512dcd6bbc7a19a8bd83f1f4170cb5b45f0ff220e81b379c03"
)
VECTOR_KEY = "302a300506032b65700321008320a51977d8c38ca8a4927c670df5821e449761945e15e9efb26a1509d230ea"
reports = st.builds(
    SignedReport,
    lab=st.text("0123456789ABCDEFGH", min_size=18, max_size=18),
    report_number=st.text(min_size=1, max_size=64),
    item=st.text("abc-", max_size=63),
    outcome=st.integers(1, 5),
    sample_time=st.none() | st.integers(0, 4_000_000_000),
    report_time=st.none() | st.integers(0, 4_000_000_000),
)


def other(index: int) -> bytes:
    return PUBLIC[1 - index]


@settings(max_examples=30)
@given(reports, st.sampled_from([0, 1]))
def test_a_report_comes_back_as_it_was_signed(report: SignedReport, index: int) -> None:
    sealed = signed_reports.read(signed_reports.sign(report, KEYS[index]))
    assert sealed.report == report
    assert sealed.key_id == signed_reports.key_id(PUBLIC[index])
    assert signed_reports.is_signed_with(sealed, PUBLIC[index])
    assert not signed_reports.is_signed_with(sealed, other(index))


@given(st.sampled_from([0, 1]), st.data())
def test_a_changed_byte_is_noticed(index: int, data: st.DataObject) -> None:
    """The report is then unreadable, or is not signed, or names another key and is otherwise the same."""
    text = signed_reports.sign(REPORT, KEYS[index])
    raw = bytearray(base64.urlsafe_b64decode(text[len(PREFIX) :] + "=="))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        sealed = signed_reports.read(PREFIX + base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())
    except BadSignedReport:
        return
    if signed_reports.is_signed_with(sealed, PUBLIC[index]):
        assert sealed.report == REPORT


def test_tags_are_refused_before_they_are_read() -> None:
    """Some tags take long to read: a regular expression, a number with an exponent."""
    for tag in (*range(512), 43_000, 55_799, 1_000_000):
        parts = [cbor2.dumps({1: -8}), {4: b"k" * 8}, cbor2.dumps({1: cbor2.CBORTag(tag, "x")}), b"s" * 64]
        with pytest.raises(BadSignedReport, match=r"is not CBOR|another type"):
            signed_reports.read(PREFIX + base64.urlsafe_b64encode(b"\xd2" + cbor2.dumps(parts)).decode())


@given(st.binary(max_size=300), st.text(max_size=20))
def test_hostile_texts_are_refused_without_another_error(raw: bytes, text: str) -> None:
    """No bytes make the reader fail otherwise, behind the tag of COSE_Sign1 neither."""
    hostile = [text, PREFIX + text, *(PREFIX + base64.urlsafe_b64encode(one).decode() for one in (raw, b"\xd2" + raw))]
    hostile.append(PREFIX + base64.urlsafe_b64encode(b"\xd2\x84\x43\xa1\x01\x27\xa1\x04\x48" + raw).decode())
    for one in hostile:
        with pytest.raises(BadSignedReport):
            signed_reports.read(one)


def test_another_library_makes_the_same() -> None:
    """A COSE_Sign1 of the package cwt 3.3.0 over b"payload" verifies with its key (EdDSA), and has our structure."""
    raw = bytes.fromhex(VECTOR)
    protected, unprotected, payload, signature = cbor2.loads(raw[1:])
    sealed = SealedReport(REPORT, unprotected[4], -8, protected, payload, signature)
    assert signed_reports.is_signed_with(sealed, bytes.fromhex(VECTOR_KEY))
    assert not signed_reports.is_signed_with(sealed._replace(payload=b"Payload"), bytes.fromhex(VECTOR_KEY))


def test_a_report_is_recognised_by_its_holders_number() -> None:
    """However it is typed. Two papers of one person have nothing in common."""
    one, two = (signed_reports.for_holder(REPORT, NUMBER, "张*", "41**19") for _ in range(2))
    assert one.is_for(" 410105 186001010019 ")
    assert not one.is_for("220502187003030031")
    assert not REPORT.is_for(NUMBER)
    assert one.digest != two.digest


def test_only_keys_of_two_kinds_sign() -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(BadSignedReport, match="Ed25519 or ECDSA on P-256"):
            signed_reports.load_private_key(pem)
        with pytest.raises(BadSignedReport, match="Ed25519 or ECDSA on P-256"):
            signed_reports.load_public_key(signed_reports.to_der(key.public_key()))  # type: ignore[arg-type]
    with pytest.raises(BadSignedReport):
        signed_reports.load_private_key(b"")
    sealed = signed_reports.read(signed_reports.sign(REPORT, KEYS[0]))
    assert not signed_reports.is_signed_with(sealed, b"no key")
    assert not signed_reports.is_signed_with(sealed._replace(algorithm=-7), PUBLIC[0])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({1: None}, "has no lab"), ({4: None}, "has no outcome"), ({4: "2"}, "has a outcome of another type"),
        ({4: True}, "has a outcome of another type"), ({6: -1}, "impossible"), ({5: 1 << 62}, "impossible"),
        ({5: 1 << 70}, "is not CBOR"),
    ],
)  # fmt: skip
def test_faulty_contents_are_named(change: dict[int, object], text: str) -> None:
    values = {1: "91410100MA0000001X", 2: "R1", 4: 2, 5: 1, 6: 2} | change
    payload = cbor2.dumps({label: value for label, value in values.items() if value is not None})
    parts = [cbor2.dumps({1: -8}), {4: b"k" * 8}, payload, b"s" * 64]
    with pytest.raises(BadSignedReport, match=text):
        signed_reports.read(PREFIX + base64.urlsafe_b64encode(b"\xd2" + cbor2.dumps(parts)).decode())
