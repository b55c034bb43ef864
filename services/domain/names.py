"""Resource names (AIP-122, docs/identifiers.md §7). Only this module parses and formats them.

The functions raise InvalidArgument. Its reason is MALFORMED_NAME for a malformed name, and BAD_USCC for a code with a
wrong check character.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from hutong_texts import english
from stdnum.cn import uscc as gb32100

from services.domain.errors import InvalidArgument, Violation

_LAB = re.compile(r"labs/([0-9A-HJ-NPQRTUWXY]{18})")
_NOT_IN_NUMBER = r"\x00-\x20\x7f/@"
_MAX_NUMBER = 64
_NUMBER = rf"[^{_NOT_IN_NUMBER}]{{1,{_MAX_NUMBER}}}"
_REPORT_NUMBER = re.compile(_NUMBER)
_OF_NO_NUMBER = re.compile(f"[{_NOT_IN_NUMBER}]")
_RESULT = re.compile(rf"labs/([0-9A-HJ-NPQRTUWXY]{{18}})/results/({_NUMBER})(?:@([1-9][0-9]{{0,8}}))?")
_MISSING_REPORT = re.compile(rf"labs/([0-9A-HJ-NPQRTUWXY]{{18}})/missingReports/({_NUMBER})")
_UPLOAD = re.compile(r"labs/([0-9A-HJ-NPQRTUWXY]{18})/uploads/([0-9A-Za-z._-]{1,64})")
_POLICY = re.compile(r"jurisdictions/([0-9]{6})/policies/([a-z][a-z0-9-]{0,62})(?:@([1-9][0-9]{0,8}))?")
_JURISDICTION = re.compile(r"jurisdictions/([0-9]{6})")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DECISION = re.compile(rf"decisions/({_UUID})")
_REFUSAL = re.compile(rf"refusals/({_UUID})")
_CASE = re.compile(rf"cases/({_UUID})")
_PENDING_CHANGE = re.compile(rf"pendingChanges/({_UUID})")
_EMERGENCY_GRANT = re.compile(rf"emergencyGrants/({_UUID})")
_LEGAL_HOLD = re.compile(rf"legalHolds/({_UUID})")
_NODE = re.compile(r"nodes/([0-9]{6})")
_ITEM = re.compile(r"items/([a-z0-9-]{1,63})")
_ITEM_ID = re.compile(r"[a-z0-9-]{1,63}")

DEFAULT_ITEM = ""
"""The item of every result whose laboratory names none. It is stored and sent as the empty string. The content hash of
a report without an item therefore never changes."""
_DEFAULT_ITEM_ID = "sars-cov-2-nucleic-acid"
"""The id of the default item in resource names."""
ANNOUNCED_PREFIX = "sars-cov-2-"
"""The beginning of the ids of announced items. The nation makes positives of these items known to other nodes
(docs/adr/0014-announced-positives.md)."""


def _match(pattern: re.Pattern[str], name: str, field: str, expected: str) -> re.Match[str]:
    match = pattern.fullmatch(name)
    if match is None:
        raise InvalidArgument(
            "MALFORMED_NAME",
            english("{field}: expected {expected}", field=field, expected=expected),
            violations=[Violation(field, "MALFORMED_NAME", english("expected {expected}", expected=expected))],
            metadata={"field": field, "expected": expected},
        )
    return match


@lru_cache(maxsize=16_384)
def is_report_number(text: str) -> bool:
    """Whether uploads accept a text as a report number. No report with another number is stored."""
    return _REPORT_NUMBER.fullmatch(text) is not None


def are_report_numbers(texts: Collection[str]) -> bool:
    """Whether uploads accept each of many texts as a report number. This costs less than asking about each of them."""
    lengths = set(map(len, texts))
    if not lengths or min(lengths) < 1 or max(lengths) > _MAX_NUMBER:
        return not lengths
    return _OF_NO_NUMBER.search("".join(texts)) is None


def is_uscc(code: str) -> bool:
    """Whether a text is a unified social credit code (GB 32100).

    The code must be in upper case, without separators, and with the right check character.
    """
    return bool(gb32100.is_valid(code)) and gb32100.compact(code) == code


def _checked_uscc(code: str, field: str) -> str:
    if not is_uscc(code):
        raise InvalidArgument.field(
            field, english("the unified social credit code's check character is wrong"), "BAD_USCC"
        )
    return code


def parse_lab(name: str, field: str = "name") -> str:
    """Return the unified social credit code of "labs/{uscc}"."""
    return _checked_uscc(_match(_LAB, name, field, "labs/{uscc}").group(1), field)


def format_lab(uscc: str) -> str:
    """Return the name of a laboratory, "labs/{uscc}"."""
    return f"labs/{uscc}"


def parse_result(name: str, field: str = "name") -> tuple[str, str, int | None]:
    """Return code, report number and revision of "labs/{uscc}/results/{report_number}[@{revision}]"."""
    match = _match(_RESULT, name, field, "labs/{uscc}/results/{report_number}, optionally with @{revision}")
    revision = match.group(3)
    return _checked_uscc(match.group(1), field), match.group(2), int(revision) if revision else None


def format_result(uscc: str, report_number: str, revision: int | None = None) -> str:
    """Return the name of a result, or of one revision of it."""
    name = f"labs/{uscc}/results/{report_number}"
    return name if revision is None else f"{name}@{revision}"


def format_missing_report(uscc: str, report_number: str) -> str:
    """Return the name of a missing report."""
    return f"labs/{uscc}/missingReports/{report_number}"


def parse_missing_report(name: str, field: str = "name") -> tuple[str, str]:
    """Return code and report number of "labs/{uscc}/missingReports/{report_number}"."""
    match = _match(_MISSING_REPORT, name, field, "labs/{uscc}/missingReports/{report_number}")
    return _checked_uscc(match.group(1), field), match.group(2)


def parse_upload(name: str, field: str = "name") -> tuple[str, str]:
    """Return code and upload id of "labs/{uscc}/uploads/{upload_id}"."""
    match = _match(_UPLOAD, name, field, "labs/{uscc}/uploads/{upload_id}")
    return _checked_uscc(match.group(1), field), match.group(2)


def format_upload(uscc: str, upload_id: str) -> str:
    """Return the name of an upload."""
    return f"labs/{uscc}/uploads/{upload_id}"


def parse_policy(name: str, field: str = "name") -> tuple[str, str, int | None]:
    """Return region, policy id and revision of "jurisdictions/{region}/policies/{policy_id}[@{revision}]"."""
    match = _match(_POLICY, name, field, "jurisdictions/{region}/policies/{policy_id}, optionally with @{revision}")
    revision = match.group(3)
    return match.group(1), match.group(2), int(revision) if revision else None


def format_policy(region: str, policy_id: str, revision: int | None = None) -> str:
    """Return the name of a policy, or of one revision of it."""
    name = f"jurisdictions/{region}/policies/{policy_id}"
    return name if revision is None else f"{name}@{revision}"


def parse_jurisdiction(name: str, field: str = "jurisdiction") -> str:
    """Return the region of "jurisdictions/{region}"."""
    return _match(_JURISDICTION, name, field, "jurisdictions/{region}").group(1)


def parse_decision(name: str, field: str = "name") -> str:
    """Return the UUID of "decisions/{uuid7}"."""
    return _match(_DECISION, name, field, "decisions/{uuid7}").group(1)


def format_decision(uuid: str) -> str:
    """Return the name of a decision."""
    return f"decisions/{uuid}"


def parse_refusal(name: str, field: str = "name") -> str:
    """Return the UUID of "refusals/{uuid7}"."""
    return _match(_REFUSAL, name, field, "refusals/{uuid7}").group(1)


def format_refusal(uuid: str) -> str:
    """Return the name of a reported refusal."""
    return f"refusals/{uuid}"


def parse_case(name: str, field: str = "name") -> str:
    """Return the UUID of "cases/{uuid7}"."""
    return _match(_CASE, name, field, "cases/{uuid7}").group(1)


def format_case(uuid: str) -> str:
    """Return the name of a case of evidence."""
    return f"cases/{uuid}"


def parse_pending_change(name: str, field: str = "name") -> str:
    """Return the UUID of "pendingChanges/{uuid7}"."""
    return _match(_PENDING_CHANGE, name, field, "pendingChanges/{uuid7}").group(1)


def format_pending_change(uuid: str) -> str:
    """Return the name of a pending change."""
    return f"pendingChanges/{uuid}"


def parse_emergency_grant(name: str, field: str = "name") -> str:
    """Return the UUID of "emergencyGrants/{uuid7}"."""
    return _match(_EMERGENCY_GRANT, name, field, "emergencyGrants/{uuid7}").group(1)


def format_emergency_grant(uuid: str) -> str:
    """Return the name of an emergency grant."""
    return f"emergencyGrants/{uuid}"


def parse_legal_hold(name: str, field: str = "name") -> str:
    """Return the UUID of "legalHolds/{uuid7}"."""
    return _match(_LEGAL_HOLD, name, field, "legalHolds/{uuid7}").group(1)


def format_legal_hold(uuid: str) -> str:
    """Return the name of a legal hold."""
    return f"legalHolds/{uuid}"


def format_node(region: str) -> str:
    """Return the name of a node."""
    return f"nodes/{region}"


def parse_node(name: str, field: str = "node") -> str:
    """Return the region of "nodes/{region}"."""
    return _match(_NODE, name, field, "nodes/{region}").group(1)


def parse_item(name: str, field: str = "item") -> str:
    """Return the id of "items/{item}"; DEFAULT_ITEM for the empty name and for the default item's own name."""
    if not name:
        return DEFAULT_ITEM
    item = _match(_ITEM, name, field, "items/{item}").group(1)
    return DEFAULT_ITEM if item == _DEFAULT_ITEM_ID else item


def parse_items(names: Iterable[str], field: str, besides: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the ids in `besides`, followed by the ids of the item names. Each id appears once."""
    parsed = [parse_item(name, f"{field}[{index}]") for index, name in enumerate(names)]
    return tuple(dict.fromkeys([*besides, *parsed]))


def format_item(item: str) -> str:
    """Return the name of an item for a message. The name of the default item is empty there."""
    return f"items/{item}" if item else ""


def describe_item(item: str) -> str:
    """Return the name of an item for a text that people read. The default item has a name there."""
    return f"items/{item or _DEFAULT_ITEM_ID}"


def is_announced(item: str) -> bool:
    """Whether the nation makes positives of an item known to the nodes that have results of the person.

    The id of the item decides, because Results does not know which items the policies list as adverse.
    """
    return not item or item.startswith(ANNOUNCED_PREFIX)


def is_item(item: str) -> bool:
    """Whether a text is an item id as stored. The default item is stored only as the empty string."""
    return not item or (_ITEM_ID.fullmatch(item) is not None and item != _DEFAULT_ITEM_ID)
