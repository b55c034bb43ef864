"""The JSON Schema of policy files: it takes what `hutong policy lint` takes, and refuses what that refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hutong_client
import pytest
import yaml
from hutong.policy.v1.policy_pb2 import Policy
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run
from hutong_client.policies.files import read_policy_file

from tests.support.client.policy_files import GOOD, ITEMS, SAMPLES

FILE = Path(hutong_client.__file__).parent / "policies/policy.schema.json"
SCHEMA = json.loads(FILE.read_text(encoding="utf-8"))
WINDOW = "{duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}"
FIRST_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def faults(schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    """Yield the faults of a value, by the part of JSON Schema that the schema uses."""
    known = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema and not isinstance(value, known[schema["type"]]):
        yield f"not a {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield "another constant"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6):
            yield "length"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{value!r} is not like {schema['pattern']}"
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield "out of range"
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)) or (
            schema.get("uniqueItems") and len(value) != len(set(value))
        ):
            yield "items"
        for item in value:
            yield from faults(schema.get("items", {}), item)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{key} is missing" for key in schema.get("required", ()) if key not in value)
        for key, inner in value.items():
            if key in properties:
                yield from faults(properties[key], inner)
            elif schema.get("additionalProperties") is False:
                yield f"{key} is unknown"
    yield from _combined(schema, value)


def _combined(schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    def fits(one: Mapping[str, Any]) -> bool:
        return not any(faults(one, value))

    if "oneOf" in schema and sum(fits(one) for one in schema["oneOf"]) != 1:
        yield "not one of"
    if "anyOf" in schema and not any(fits(one) for one in schema["anyOf"]):
        yield "none of"
    if "not" in schema and fits(schema["not"]):
        yield "is what it must not be"
    if "if" in schema:
        yield from faults(schema.get("then" if fits(schema["if"]) else "else", {}), value)


def load(text: str) -> Any:
    """YAML as editors read it: a time is a text."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def typed(value: Any) -> Any:
    """Return what editors make of plain scalars, where BaseLoader leaves texts."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch("[0-9]+", value) else value


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_sample_names_the_schema_and_keeps_it(path: Path) -> None:
    """The first line of the sample tells an editor the schema."""
    text = path.read_text(encoding="utf-8")
    line = FIRST_LINE.match(text)
    assert line
    assert (path.parent / line.group(1)).resolve() == FILE.resolve()
    assert list(faults(SCHEMA, typed(load(text)))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("title:", "titel:"),
        ("PURPOSE_PUBLIC_VENUE", "PURPOSE_SHOP"),
        ("title: 郑州 venues", "revision: 3\ntitle: a"),
        ("410100/policies/venue", "410100/policies/Venue"),
        ("410100/policies/venue", "410100/policies/venue@2"),
        ("+08:00", ""),
        ("effective_start_time: 2022-08-05T00:00:00+08:00\n", ""),
        ("duration: 172800s, ", ""),
        ("duration: 172800s", "duration: 48h"),
        ("duration: 172800s", "duration: 172800s, calendar_days: 2"),
        ("duration: 172800s", "calendar_days: 0"),
        (", basis: VALIDITY_BASIS_REPORT_TIME", ""),
        ("title:", "floor: true\ntitle:"),
        ("title:", "not_required: {}\ntitle:"),
        ("[PURPOSE_PUBLIC_VENUE]", "[PURPOSE_HOTEL, PURPOSE_HOTEL]"),
        ("test_required:\n  window: {duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}\n", ""),
        ("retroactive_reason: a sample", f"retroactive_reason: {'x' * 501}"),
        ("title: 郑州 venues", f"title: {'x' * 201}"),
        ("window:", "shortest_window: {calendar_days: 2}\n  window:"),
        (WINDOW, "{basis: VALIDITY_BASIS_SAMPLE_TIME}\nfloor: true"),
        (f"window: {WINDOW}", "shortest_window: {calendar_days: 2, duration: 1s}\nfloor: true"),
        (f"window: {WINDOW}", "refusal_permitted: true"),
        ("window:", "accepted: [{item: Antigen}]\n  window:"),
        ("window:", "accepted: [{window: {basis: VALIDITY_BASIS_REPORT_TIME}}]\n  window:"),
        ("window:", "adverse_items: [antigen]\n  window:"),
        (f"window: {WINDOW}", "adverse_window: 86400s\nfloor: true"),
        (f"window: {WINDOW}", "accepted: [{item: items/sars-cov-2-antigen}]\nfloor: true"),
    ],
)
def test_faulty_file_breaks_it(old: str, new: str) -> None:
    """An editor marks it before anything is sent."""
    assert list(faults(SCHEMA, typed(load(GOOD)))) == []
    assert list(faults(SCHEMA, typed(load(GOOD.replace(old, new)))))


@pytest.mark.parametrize(
    "stated",
    [
        "not_required: {}",
        "test_required: {}",
        "test_required: {window: {basis: VALIDITY_BASIS_REPORT_TIME}}",
        "test_required: {shortest_window: {calendar_days: 2}}",
        "test_required: {shortest_window: {duration: 172800s, includes_boundary: true}}",
    ],
)
def test_floor_may_lift_or_state_a_shortest_window(tmp_path: Path, stated: str) -> None:
    """The schema and the command find no fault in the floor.

    A floor may also leave everything but channels and grounds to the places.
    """
    text = GOOD.replace(f"test_required:\n  window: {WINDOW}", f"{stated}\nfloor: true")
    assert list(faults(SCHEMA, typed(load(text)))) == []
    path = tmp_path / "floor.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_policy_file(path).faults == ()


def test_policy_may_state_items(tmp_path: Path) -> None:
    """Each with a window of its own or the policy's, and adverse ones; the command finds no fault either."""
    text = GOOD.replace("test_required:\n", f"test_required:\n{ITEMS}")
    assert list(faults(SCHEMA, typed(load(text)))) == []
    path = tmp_path / "either.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_policy_file(path).faults == ()


def test_schema_knows_every_field_an_authority_states() -> None:
    """The schema has the contract's own words for each field, and no field that the service sets."""
    stated = {field.name for field in Policy.DESCRIPTOR.fields} - {
        "revision",
        "publish_time",
        "withdraw_time",
        "withdraw_reason",
        "content_hash",
        "actor",
        "withdraw_actor",
        "node",
    }
    assert set(SCHEMA["properties"]) == stated
    assert all(it["description"] for it in SCHEMA["properties"].values())


def test_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the schema as it is shipped."""
    assert run(["policy", "schema"]) == ExitCode.DONE
    assert capsys.readouterr().out == FILE.read_text(encoding="utf-8")
