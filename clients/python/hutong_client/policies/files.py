"""Policies in files: YAML or JSON by the proto JSON mapping of hutong.policy.v1.Policy, field names in snake_case."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.protobuf.json_format import ParseDict, ParseError
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_pb2 import TRAVELER_ORIGIN_ANY, TRAVELER_ORIGIN_UNSPECIFIED, Policy

from hutong_client.formatting import SHANGHAI, as_dict
from hutong_client.policies.faults import find_broken_rules, find_faults

_ADDED = tuple(
    field.name for field in Policy.DESCRIPTOR.fields if OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]
)
"""The fields that the service adds to what an authority stated."""
_PUBLICATION = "retroactive_reason"
"""In a file it is what PublishPolicyRequest takes; in a published policy it is told back."""
_SETS = ("purposes", "channels", "forbidden_grounds")
"""Lists whose order means nothing."""
_FORMER_PREFIXES = {"basis": "VALIDITY_", "origin": "TRAVELER_"}
"""What the values of two enums did not begin with before; files may go on saying BASIS_REPORT_TIME."""
_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One policy as its file states it, and everything that is wrong with it as far as can be told offline."""

    path: Path
    policy: Policy
    retroactive_reason: str
    faults: tuple[str, ...] = ()


def find_policy_files(path: Path) -> list[PolicyFile]:
    """The policies of a file, or of a directory's files in the order of their names."""
    if not path.is_dir():
        return [read_policy_file(path)]
    files = [read_policy_file(file) for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES]
    stated_by: dict[tuple[str, int], Path] = {}
    return [_unless_stated(file, stated_by) for file in files]


def _unless_stated(file: PolicyFile, stated_by: dict[tuple[str, int], Path]) -> PolicyFile:
    """The file; at fault when another one states the same rule for the same start, and one would undo the other."""
    if file.faults:
        return file
    first = stated_by.setdefault((file.policy.name, file.policy.effective_start_time.ToNanoseconds()), file.path)
    if first == file.path:
        return file
    return replace(file, faults=(f"{first.name} states {file.policy.name} from the same instant",))


def read_policy_file(path: Path) -> PolicyFile:
    """Read one file; what cannot be read is a fault of it."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return PolicyFile(path, Policy(), "", (" ".join(str(error).split()),))
    except RecursionError:
        return PolicyFile(path, Policy(), "", ("its brackets are nested too deep",))
    if not isinstance(content, dict):
        return PolicyFile(
            path, Policy(), "", ("the file holds no policy: its top must be keys such as name and title",)
        )
    reason = content.pop(_PUBLICATION, None) or ""
    faults = [f"{key} is given by the service; leave it out" for key in _ADDED if key in content]
    if not isinstance(reason, str):
        reason = ""
        faults.append(f"{_PUBLICATION}: must be a text")
    faults += find_broken_rules(PublishPolicyRequest(retroactive_reason=reason))
    policy = Policy()
    try:
        _rename_former(content)
        ParseDict({key: value for key, value in content.items() if key not in _ADDED}, policy)
    except (ParseError, RecursionError) as error:
        return PolicyFile(path, policy, reason, (*faults, " ".join(str(error).split())))
    return PolicyFile(path, policy, reason, (*faults, *find_faults(policy)))


def _rename_former(content: dict[str, Any]) -> None:
    """Put the present names of enum values in the place of former ones."""
    for key, value in content.items():
        if isinstance(value, dict):
            _rename_former(value)
        elif isinstance(value, str) and key in _FORMER_PREFIXES and value.startswith(f"{key.upper()}_"):
            content[key] = _FORMER_PREFIXES[key] + value


def stated(policy: Policy) -> dict[str, Any]:
    """What an authority stated of a policy, without what the service adds; equal for equal policies."""
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
    return {key: _civil(key, value) for key, value in as_dict(plain).items()}


def diff(before: Policy | None, after: Policy, label: str) -> list[str]:
    """What changes, as a unified diff of YAML; everything is new where there was nothing before."""
    old = _lines(before) if before else []
    return list(difflib.unified_diff(old, _lines(after), before.name if before else "nothing", label, lineterm=""))


def _lines(policy: Policy) -> list[str]:
    return yaml.safe_dump(stated(policy), allow_unicode=True, sort_keys=False, width=120).splitlines()


def _civil(key: str, value: Any) -> Any:
    """Instants in civil time of China, as the files write them."""
    if key.endswith("_time"):
        return datetime.fromisoformat(value).astimezone(SHANGHAI).isoformat()
    return value


class _Loader(yaml.SafeLoader):
    """YAML in which a time stays the text it is, its zone with it, and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice: one of the two would silently be without effect."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
