"""Explain the contract's rules to a clerk.

The service's descriptions of broken rules are general or generated. A clerk needs to know what to write into the cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from buf.validate import validate_pb2
from hutong.type.v1 import rules_pb2
from hutong_texts import english, tr

_EXPECTED = {
    "tube_code": english("write a tube code of 1 to 64 characters, without line breaks or tabs"),
    "pool_size": english("write the number of persons that the tube was made for, 1 to 20"),
    "specimen": english("write what was taken, as 口咽拭子, or leave the cell empty"),
    "method": english("write how it was examined, as RT-PCR, or leave the cell empty"),
    "item": english("write the name of the test, or its item as items/{item}, and admit it with --item"),
    "outcome": english("write the result: 阴性, 阳性, 混管阳性, 待复核, 检测中 or 不确定"),
    "sample_region": english("write the region as six digits of GB/T 2260, like 410105"),
    "sample_site": english("write the place of sampling in at most 200 characters, without line breaks or tabs"),
    "sample_time": english(
        "write when the sample was taken, as 2022-08-09T08:52:18+08:00; no test is older than 2019-12-01"
    ),
    "report_time": english("write when the report was issued, as 2022-08-09T12:30:00+08:00"),
    "persons": english("a tube has 1 to 20 persons; check whether rows of other tubes have its code"),
    "document": english("write the number and the type of the document"),
    "document.type": english("write the type of the document: 居民身份证, 护照, 港澳居民来往内地通行证 ... or 其他"),
    "document.number": (
        english(
            "write the number as it is printed: at most 32 letters A to Z, digits, spaces, "
            "hyphens and round brackets, beginning with a letter or digit"
        )
    ),
    "document.issuing_country": english("write the country as its three capital letters of ISO 3166-1, like FRA"),
    "document.name": english("write the name in at most 128 characters, without line breaks or tabs"),
    "report_number": english("write a report number of 1 to 64 characters, without spaces, / or @"),
}
_BY_REASON = {
    "POOL_MISMATCH": (
        english(
            "the result, the size of the pool and its persons do not fit together: 混管阳性 is "
            "the result of a pool, 阳性 that of a tube of one person, and no tube has more "
            "persons than it was made for; correct the wrong cell"
        )
    ),
    "TIMES_OUT_OF_ORDER": (
        english(
            "the times are out of order: a specimen is taken (采样), received (收样), examined "
            "(检测) and reported (报告) in this order; correct the time that is wrong"
        )
    ),
    "CONFLICT": (
        english(
            "this report number is stored with other content; check the number, and have the "
            "stored report corrected if this row is right"
        )
    ),
}
"""Explanations of faults that a service describes for programs."""
_REASONS = {
    "INVALID_FIELD": english("a cell cannot be read, is missing or breaks a rule"),
    "POOL_MISMATCH": english("rows of a tube do not fit together, or it is unclear which rows are in one tube"),
    "ITEM_NOT_ADMITTED": english("another test than the upload admits (--item)"),
    "CONFLICT": english("the report number is stored with other content"),
    "TIMES_OUT_OF_ORDER": english("the times are out of order"),
    "TIME_IN_FUTURE": english("a time lies in the future"),
    "REGION_UNKNOWN": english("the region is not known"),
    "BAD_DOCUMENT_NUMBER": english("the number of the document cannot be right"),
    "LAB_NOT_AUTHORIZED": english("the laboratory was not authorised at this time"),
    "BEFORE_HORIZON": english("the result is older than what is kept"),
    "NOT_THE_ORIGIN": english("the sampling record is at another node"),
    "QUOTA_EXCEEDED": english("the laboratory has sent more than its quota"),
}
_OTHER_PERSON = english("this report number is stored with another document; write this report's own number")
_OTHER_VALUE = english(
    "the stored report of this number has another value here; check the number, and have the stored report corrected "
    "if this row is right"
)
_REQUIRED = english("value is required")
_MACHINE_MADE = re.compile(
    r"value must be one of the defined|does not match regex|must be at most \d+ char|must be greater than|must contain "
)


def _general_messages() -> Iterator[str]:
    for extension in rules_pb2.DESCRIPTOR.extensions_by_name.values():
        if extension.containing_type is validate_pb2.StringRules.DESCRIPTOR:
            rules: validate_pb2.PredefinedRules = extension.GetOptions().Extensions[validate_pb2.predefined]  # type: ignore[index]
            yield from (rule.message for rule in rules.cel)


_GENERAL = frozenset(_general_messages())
"""Messages of the contract's predefined rules, which say nothing about the field."""


def name_reason(reason: str) -> str:
    """Return a reason in plain words; the reason itself if it has none."""
    return tr(_REASONS.get(reason, reason))


def explain_rule(path: str, description: str, reason: str = "") -> str:
    """Explain to a clerk what to write into a field of a tube or person.

    A description that is neither general nor generated nor meant for programs is returned as it is.
    """
    if path == "item" and reason == "CONFLICT":
        return description.replace("use CorrectResult to change its item", "have it corrected if this row is right")
    if reason == "CONFLICT" and path != "report_number":
        return tr(_OTHER_PERSON if path == "document" else _OTHER_VALUE)
    if reason in _BY_REASON:
        return tr(_BY_REASON[reason])
    expected = _EXPECTED.get(path)
    if expected is None:
        return description
    if description == _REQUIRED:
        return tr("this is missing; {expected}", expected=expected)
    general = _MACHINE_MADE.match(description) or description in _GENERAL
    return tr(expected) if general else description
