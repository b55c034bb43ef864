"""One number, one person, from a filed positive to the decision on a question (tests/scenarios/identities.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hutong.type.v1 import identity_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.document import BadDocument, Document, canonical_document
from services.domain.instant import HOUR
from services.domain.subject import Pepper
from services.verification.decision.decide import decide
from services.verification.verify.inputs import inputs_from_proto
from tests.support.golden.messages import HOURS_48, NOON, POSITIVE, make_inputs, make_policy, make_record

FILE = yaml.safe_load((Path(__file__).parents[2] / "scenarios/identities.yaml").read_text(encoding="utf-8"))
PAIRS = [
    pytest.param(pair, id=f"{story['story']} [{number}]")
    for story in FILE["stories"]
    for number, pair in enumerate(story["pairs"], 1)
]
PEPPER = Pepper(b"p" * 32)
RECORD = make_record("POSITIVE", NOON - 9 * HOUR, NOON - HOUR, POSITIVE)


def document(text: str) -> Document:
    """Return the canonical form of a document that is written as its type, its number, and perhaps a country."""
    label, number, *country = text.split()
    return canonical_document(identity_pb2.DocumentType.Value(f"DOCUMENT_TYPE_{label}"), number, *country)


@pytest.mark.parametrize("pair", PAIRS)
def test_pair(pair: dict[str, Any]) -> None:
    """The filed positive governs the question exactly where both are of one person."""
    if "refused" in pair:
        with pytest.raises(BadDocument) as caught:
            document(pair["asked"])
        assert caught.value.field == pair["refused"]
        assert pair["asked"].split()[1] not in caught.value.expected
        return
    filed = {PEPPER.subject_key(document(pair["filed"])): [RECORD]}
    found = filed.get(PEPPER.subject_key(document(pair["asked"])), [])
    reason = decide(inputs_from_proto(make_inputs(make_policy(HOURS_48), found))).reason
    assert (reason == pb.DECISION_REASON_POSITIVE_RESULT) is pair["one"]
    assert (reason == pb.DECISION_REASON_NO_RESULT) is not pair["one"]
