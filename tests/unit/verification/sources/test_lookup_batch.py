"""Tests how look-ups are written into one call: by subject key in columns where possible, and in which order."""

from __future__ import annotations

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE, ClaimedReport
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_RESIDENT_ID_CARD, IdentityDocument

from services.domain.document import canonical_document
from services.domain.subject import Pepper
from services.verification.sources.lookup_batch import batch_of
from services.verification.sources.model import LookUp
from tests.support.people import resident_number

PEPPER = Pepper(b"p" * 32)
MARKS = [b"m" * 16]


def look_up(person: int, name: str = "", limit: int = 10) -> LookUp:
    number = resident_number(person)
    stated = IdentityDocument(type=DOCUMENT_TYPE_RESIDENT_ID_CARD, number=number, name="张三")
    return LookUp(stated, canonical_document(stated.type, number), name, limit, LOOKUP_SCOPE_LOCAL)


def key_of(one: LookUp) -> bytes:
    assert one.document is not None
    return PEPPER.subject_key(one.document)


def test_local_look_ups_are_sent_as_columns_without_documents() -> None:
    look_ups = [look_up(0, "张三"), look_up(1)]
    request, keyed_count, order = batch_of(look_ups, PEPPER, MARKS)
    assert (len(request.requests), keyed_count, order) == (0, 2, None)
    (keyed,) = request.keyed
    assert list(keyed.subject_keys) == [key_of(one) for one in look_ups]
    assert list(keyed.name_hashes) == [PEPPER.name_hash("张三"), b""]
    assert not keyed.other_subject_keys
    assert not keyed.other_name_hashes
    assert resident_number(0).encode() not in request.SerializeToString()


def test_a_rotating_pepper_sends_both_keys() -> None:
    other = Pepper(b"q" * 32, 2)
    request, _, _ = batch_of([look_up(0, "张三"), look_up(1)], Pepper(b"p" * 32, 1, other), MARKS * 2)
    (keyed,) = request.keyed
    assert [len(key) for key in keyed.other_subject_keys] == [16, 16]
    assert list(keyed.other_name_hashes) == [other.name_hash("张三"), b""]


def test_other_look_ups_are_sent_as_requests_after_the_columns() -> None:
    """The order says where each answer belongs. Look-ups with different limits or items have columns of their own."""
    nationwide, claiming, fresh, past = (look_up(person) for person in (1, 2, 3, 4))
    nationwide.scope = LOOKUP_SCOPE_NATIONWIDE
    claiming.claimed_reports = [ClaimedReport(report_number="R1")]
    fresh.at_least_as_fresh = "a token"
    past.limit = 20
    token = LookUp(None, None, "", 10, LOOKUP_SCOPE_LOCAL, (b"k" * 16, b""))
    look_ups = [nationwide, look_up(0), claiming, past, fresh, token, look_up(5)]
    request, keyed_count, order = batch_of(look_ups, PEPPER, MARKS)
    assert keyed_count == 3
    assert order == [1, 6, 3, 0, 2, 4, 5]
    assert [one.limit for one in request.keyed] == [10, 20]
    assert [one.document.name for one in request.requests] == [""] * 4
    assert list(request.subject_keys) == [b"", b"", b"", b"k" * 16]


def test_without_a_pepper_all_look_ups_are_requests() -> None:
    request, keyed_count, order = batch_of([look_up(0, "张三")], None, MARKS)
    assert (len(request.requests), keyed_count, order) == (1, 0, None)
    assert request.requests[0].document.name == "张三"
