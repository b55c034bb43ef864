"""Reports that a laboratory signs: the text of a QR code, made, read and verified without a network.

A signed report is COSE_Sign1 (RFC 9052) with EdDSA on Ed25519 or ES256, over a CBOR map. docs/identifiers.md §10 has
its form. The functions need the packages of the extra `signed-reports`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import unicodedata
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from hutong_texts import Text, english

PREFIX = "HTR1:"
"""The beginning of every signed report: "Hutong report", form 1."""
MAX_LENGTH = 2048
"""The most characters of a signed report. A report of ordinary fields has about 260 characters, and a QR code holds
2,953."""
KEY_ID_LENGTH = 8
SALT_LENGTH = 8
DIGEST_LENGTH = 16
_SIGN1 = b"\xd2"
"""The CBOR tag 18, of COSE_Sign1."""
_MAX_DEPTH = 3
"""Nesting of CBOR values. A signed report has an array with a map."""
_ALGORITHM, _KEY_ID = 1, 4
"""Labels of COSE headers (RFC 9052 §3.1)."""
_EDDSA, _ES256 = -8, -7
"""Algorithms of COSE (RFC 9053 §2)."""
_HALF = 32
"""Bytes of each of the two numbers of an ES256 signature."""
_LAST_TIME = 253_402_300_799
"""The last second of the year 9999."""

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


class BadSignedReport(ValueError):
    """A text is no signed report, or a key cannot sign one.

    The message says why, and quotes nothing of the faulty text.

    Attributes:
        text: the message, which can be translated.
    """

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text


class SignedReport(NamedTuple):
    """What a laboratory signs.

    Attributes:
        lab: the laboratory's code, 18 characters.
        item: the id of the test item; empty for nucleic acid.
        outcome: the number of a `hutong.type.v1.Outcome`.
        sample_time: seconds since 1970-01-01T00:00:00Z; None if the report states none.
        report_time: in seconds as `sample_time`; None for a sampling record.
        masked_name: the holder's name with all but the first character masked, to be compared with a document.
        masked_number: the document's number with all but the first two and last two characters masked.
        salt: random bytes.
        digest: the hash of the salt and the document's number, by which the holder is recognised.
    """

    lab: str
    report_number: str
    item: str
    outcome: int
    sample_time: int | None
    report_time: int | None
    masked_name: str = ""
    masked_number: str = ""
    salt: bytes = b""
    digest: bytes = b""

    def is_for(self, number: str) -> bool:
        """Return whether the report was signed for the holder of the document with this number."""
        return bool(self.digest) and hmac.compare_digest(self.digest, _digest(self.salt, number))


class SealedReport(NamedTuple):
    """A signed report as it was read. Its content is not verified.

    Attributes:
        key_id: the id of the key that signed the report.
    """

    report: SignedReport
    key_id: bytes
    algorithm: int
    protected: bytes
    payload: bytes
    signature: bytes


_TYPES: dict[str, type] = {
    "lab": str, "report_number": str, "item": str, "outcome": int, "sample_time": int, "report_time": int,
    "masked_name": str, "masked_number": str, "salt": bytes, "digest": bytes,
}  # fmt: skip
"""The types of the fields. A field's label in the CBOR map is its place in this list, from 1."""
_LABELS = {name: label for label, name in enumerate(_TYPES, 1)}


def for_holder(report: SignedReport, number: str, masked_name: str, masked_number: str) -> SignedReport:
    """Return a report for the holder of a document."""
    salt = secrets.token_bytes(SALT_LENGTH)
    return report._replace(
        masked_name=masked_name, masked_number=masked_number, salt=salt, digest=_digest(salt, number)
    )


def load_private_key(pem: bytes) -> PrivateKey:
    """Return the key of a PEM file without a password. Raises BadSignedReport if the key cannot sign a report."""
    try:
        key = load_pem_private_key(pem, None)
    except (TypeError, ValueError) as error:
        raise BadSignedReport(english("no private key in PEM, or one with a password")) from error
    if isinstance(key, Ed25519PrivateKey) or (
        isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    raise BadSignedReport(english("a key must be Ed25519 or ECDSA on P-256"))


def load_public_key(der: bytes) -> PublicKey:
    """Return a key in DER (SubjectPublicKeyInfo). Raises BadSignedReport if no report can be signed with it."""
    try:
        key = load_der_public_key(der)
    except Exception as error:  # the library raises several kinds for malformed keys
        raise BadSignedReport(english("no public key in DER")) from error
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    raise BadSignedReport(english("a key must be Ed25519 or ECDSA on P-256"))


def to_der(key: PublicKey) -> bytes:
    """Return a public key in DER, as a laboratory registers it."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(der: bytes) -> bytes:
    """Return the id of a public key in DER: the first 8 bytes of its SHA-256."""
    return sha256(der).digest()[:KEY_ID_LENGTH]


def sign(report: SignedReport, key: PrivateKey) -> str:
    """Return the text of the QR code of a report."""
    values = {_LABELS[name]: value for name, value in report._asdict().items() if value not in (None, "", b"")}
    payload = cbor2.dumps(values, canonical=True)
    algorithm = _EDDSA if isinstance(key, Ed25519PrivateKey) else _ES256
    protected = cbor2.dumps({_ALGORITHM: algorithm}, canonical=True)
    signed = _to_be_signed(protected, payload)
    if isinstance(key, Ed25519PrivateKey):
        signature = key.sign(signed)
    else:
        numbers = decode_dss_signature(key.sign(signed, ECDSA(SHA256())))
        signature = b"".join(number.to_bytes(_HALF, "big") for number in numbers)
    unprotected = {_KEY_ID: key_id(to_der(key.public_key()))}
    sealed = _SIGN1 + cbor2.dumps([protected, unprotected, payload, signature], canonical=True)
    return PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def read(text: str) -> SealedReport:
    """Return a signed report, without verifying its signature. Raises BadSignedReport for anything else."""
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
        raise BadSignedReport(
            english("must begin with {prefix} and have at most {most} characters", prefix=PREFIX, most=MAX_LENGTH)
        )
    encoded = text[len(PREFIX) :]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignedReport(english("is not base64url")) from error
    parts = _decode(raw.removeprefix(_SIGN1))
    shape = (bytes, dict, bytes, bytes)
    if (
        not raw.startswith(_SIGN1)
        or not isinstance(parts, list)
        or len(parts) != len(shape)
        or not all(map(isinstance, parts, shape))
    ):
        raise BadSignedReport(english("is no COSE_Sign1"))
    protected, unprotected, payload, signature = parts
    named, headers = unprotected.get(_KEY_ID), _decode(protected)
    # A header besides the algorithm may be critical (RFC 9052 §3.1), so none is accepted.
    if headers not in ({_ALGORITHM: _EDDSA}, {_ALGORITHM: _ES256}):
        raise BadSignedReport(english("must be signed with EdDSA or ES256"))
    if not isinstance(named, bytes) or len(named) != KEY_ID_LENGTH:
        raise BadSignedReport(english("does not name its key"))
    algorithm: int = headers[_ALGORITHM]
    return SealedReport(_report(_decode(payload)), named, algorithm, protected, payload, signature)


def is_signed_with(sealed: SealedReport, public_key: bytes) -> bool:
    """Return whether a report was signed with a key in DER. For a key that cannot sign reports the answer is False."""
    try:
        key = load_public_key(public_key)
    except BadSignedReport:
        return False
    signed, signature = _to_be_signed(sealed.protected, sealed.payload), sealed.signature
    try:
        if isinstance(key, Ed25519PublicKey):
            if sealed.algorithm != _EDDSA:
                return False
            key.verify(signature, signed)
        else:
            if sealed.algorithm != _ES256 or len(signature) != 2 * _HALF:
                return False
            numbers = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
            key.verify(encode_dss_signature(*numbers), signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure of RFC 9052 §4.4."""
    return cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)


def _digest(salt: bytes, number: str) -> bytes:
    bare = "".join(unicodedata.normalize("NFKC", number).upper().split())
    return sha256(salt + bare.encode()).digest()[:DIGEST_LENGTH]


def _decode(raw: bytes) -> Any:
    """Return the CBOR value of bytes that hold exactly one. Raises BadSignedReport for anything else."""
    stream = BytesIO(raw)
    try:
        value = cbor2.load(
            stream,
            max_depth=_MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_NO_TAGS,
        )
    except Exception as error:  # the decoder of hostile bytes raises several kinds
        raise BadSignedReport(english("is not CBOR")) from error
    if stream.read(1):
        raise BadSignedReport(english("has bytes after its end"))
    return value


def _refuse_tag(*_: Any) -> Any:
    raise BadSignedReport(english("has a CBOR tag"))


_NO_TAGS = dict.fromkeys((*range(1024), 43_000, 55_799), _refuse_tag)
"""The tags that the decoder gives a meaning, such as regular expressions. A signed report has no tags, and the decoding
of some tags takes long. The decoder makes of any other tag a value whose type no field of a report has.
"""


def _report(payload: Any) -> SignedReport:
    """Return the report that a payload states. Labels that only later versions know are ignored."""
    if not isinstance(payload, dict):
        raise BadSignedReport(english("has no report"))
    values: dict[str, Any] = {"item": "", "sample_time": None, "report_time": None}
    for name, kind in _TYPES.items():
        if (value := payload.get(_LABELS[name])) is not None:
            if type(value) is not kind:
                raise BadSignedReport(english("has a {name} of another type", name=name))
            values[name] = value
    for name in ("lab", "report_number", "outcome"):
        if name not in values:
            raise BadSignedReport(english("has no {name}", name=name))
    report = SignedReport(**values)
    times = [time for time in (report.sample_time, report.report_time) if time is not None]
    if not all(0 <= time <= _LAST_TIME for time in times) or not 0 < report.outcome < 1000:
        raise BadSignedReport(english("has a time or an outcome that is impossible"))
    return report
