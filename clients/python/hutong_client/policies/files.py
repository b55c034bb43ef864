"""Read and compare policy files: YAML or JSON by the proto JSON mapping of hutong.policy.v1.Policy, in snake_case."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.protobuf.json_format import ParseDict, ParseError
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_pb2 import TRAVELER_ORIGIN_ANY, TRAVELER_ORIGIN_UNSPECIFIED, Policy
from hutong_texts import ENGLISH, current_language, tr

from hutong_client.formatting import SHANGHAI, as_dict, item_name
from hutong_client.policies.faults import find_broken_rules, find_faults

_UNKNOWN_FIELD = re.compile(r'no field named "([^"]+)" at "([^"]+)"')
_PLACES = (re.compile(r"\bat (Policy\.[\w.\[\]]+)\.$"), re.compile(r"^Failed to parse (\w+) field"))
"""The place of a fault, as protobuf's parser of JSON tells it. The first form is the most exact."""
_ADDED = tuple(
    field.name for field in Policy.DESCRIPTOR.fields if OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]
)
"""The output-only fields, which the service adds to a policy."""
_REASON = "retroactive_reason"
"""The field in which a published policy shows its retroactive reason. If a file states the reason, the reason is sent
in the field of PublishPolicyRequest.
"""
_SETS = ("purposes", "channels", "forbidden_grounds")
"""Lists without a meaningful order."""
_FORMER_PREFIXES = {"basis": "VALIDITY_", "origin": "TRAVELER_"}
"""Prefixes that the values of two enums got when the values were renamed. Files may still use the names without these
prefixes, such as BASIS_REPORT_TIME."""
_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy from a file, with all faults that can be found offline."""

    path: Path
    policy: Policy
    retroactive_reason: str
    faults: tuple[str, ...] = ()


def find_policy_files(path: Path) -> list[PolicyFile]:
    """Read the policies of a file, or of a directory's files in the order of their names."""
    if not path.is_dir():
        return [read_policy_file(path)]
    files = [read_policy_file(file) for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES]
    stated_by: dict[tuple[str, int], Path] = {}
    return [_unless_stated(file, stated_by) for file in files]


def _unless_stated(file: PolicyFile, stated_by: dict[tuple[str, int], Path]) -> PolicyFile:
    """Return the file.

    If an earlier file has the same policy and start and would be replaced, the file gets a fault.
    """
    if file.faults:
        return file
    first = stated_by.setdefault((file.policy.name, file.policy.effective_start_time.ToNanoseconds()), file.path)
    if first == file.path:
        return file
    return replace(
        file, faults=(tr("{name} states {name2} from the same instant", name=first.name, name2=file.policy.name),)
    )


def read_policy_file(path: Path) -> PolicyFile:
    """Read one file. Errors of reading are faults of the file."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return PolicyFile(path, Policy(), "", (_describe_unreadable(error),))
    except RecursionError:
        return PolicyFile(path, Policy(), "", (tr("its brackets are nested too deep"),))
    if not isinstance(content, dict):
        return PolicyFile(
            path, Policy(), "", (tr("the file has no policy: its top level must be keys such as name and title"),)
        )
    reason = content.pop(_REASON, None) or ""
    faults = [tr("{key} is given by the service; leave it out", key=key) for key in _ADDED if key in content]
    if not isinstance(reason, str):
        reason = ""
        faults.append(tr("{field}: must be a text", field=_REASON))
    faults += find_broken_rules(PublishPolicyRequest(retroactive_reason=reason))
    policy = Policy()
    try:
        _rename_former(content)
        ParseDict({key: value for key, value in content.items() if key not in _ADDED}, policy)
    except (ParseError, RecursionError) as error:
        return PolicyFile(path, policy, reason, (*faults, _describe_unreadable(error)))
    return PolicyFile(path, policy, reason, (*faults, *find_faults(policy)))


def _describe_unreadable(error: Exception) -> str:
    """Return the words of the parser. They are in English, so another language has only the place of the fault."""
    text = " ".join(str(error).split())
    if current_language() == ENGLISH:
        return text
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark and isinstance(error, _TwiceGiven):
        return tr("{problem}, in line {line}", problem=error.problem, line=mark.line + 1)
    if mark:
        return tr("not YAML, in line {line}, column {column}", line=mark.line + 1, column=mark.column + 1)
    if unknown := _UNKNOWN_FIELD.search(text):
        return tr(
            "{place} has no field {field}; hutong policy schema has the fields", place=unknown[2], field=unknown[1]
        )
    found = next(filter(None, (form.search(text) for form in _PLACES)), None)
    if found is None:
        return text
    return tr("{place}: the value does not fit the field; hutong policy schema has the forms", place=found[1])


def _rename_former(content: dict[str, Any]) -> None:
    """Replace old names of enum values by the new names."""
    for key, value in content.items():
        if isinstance(value, dict):
            _rename_former(value)
        elif isinstance(value, str) and key in _FORMER_PREFIXES and value.startswith(f"{key.upper()}_"):
            content[key] = _FORMER_PREFIXES[key] + value


def stated(policy: Policy) -> dict[str, Any]:
    """Return the fields of a policy without the fields that the service adds. Equal policies give equal values."""
    plain = Policy()
    plain.CopyFrom(policy)
    plain.name = policy.name.split("@")[0]
    for field in _ADDED:
        plain.ClearField(field)  # type: ignore[arg-type]
    for field in _SETS:
        items = sorted(getattr(plain, field))
        plain.ClearField(field)  # type: ignore[arg-type]
        getattr(plain, field).extend(items)
    if plain.origin == TRAVELER_ORIGIN_UNSPECIFIED:
        plain.origin = TRAVELER_ORIGIN_ANY
    _name_items(plain)
    return {key: _civil(key, value) for key, value in as_dict(plain).items()}


def _name_items(policy: Policy) -> None:
    """Give the default item its full name. Files may leave this name out, and the service leaves it out."""
    if not policy.HasField("test_required"):
        return
    for one in policy.test_required.accepted:
        one.item = f"items/{item_name(one.item)}"
    items = policy.test_required.adverse_items
    items[:] = [f"items/{item_name(item)}" for item in items]


def diff(before: Policy | None, after: Policy, label: str) -> list[str]:
    """Return the changes as a unified diff of YAML. Without an earlier policy every line is new."""
    old = _lines(before) if before else []
    return list(difflib.unified_diff(old, _lines(after), before.name if before else "nothing", label, lineterm=""))


def _lines(policy: Policy) -> list[str]:
    return yaml.safe_dump(stated(policy), allow_unicode=True, sort_keys=False, width=120).splitlines()


def _civil(key: str, value: Any) -> Any:
    """Convert an instant to civil time of China, as in the files; return other values unchanged."""
    if key.endswith("_time"):
        return datetime.fromisoformat(value).astimezone(SHANGHAI).isoformat()
    return value


class _TwiceGiven(yaml.constructor.ConstructorError):
    """A key occurs twice in a mapping."""


class _Loader(yaml.SafeLoader):
    """YAML loader that keeps times as text, with their zone, and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a duplicate key, because one of its two values would silently have no effect."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise _TwiceGiven(None, None, tr("the key {key} occurs twice", key=key), node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
