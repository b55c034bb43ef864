"""Policies in files: read as the contract means them, or refused with everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hutong.policy.v1.policy_pb2 import TRAVELER_ORIGIN_ANY, TRAVELER_ORIGIN_UNSPECIFIED, Policy
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE
from hutong_client.policies.files import diff, find_policy_files, read_policy_file, stated
from hutong_texts import CHINESE, speaking

from tests.support.client.policy_files import GOOD, ITEMS, SAMPLES

BARE = "{basis: VALIDITY_BASIS_REPORT_TIME}"
ANTIGEN = "accepted: [{item: items/sars-cov-2-antigen}]"
EITHER = "accepted: [{item: ''}, {item: items/sars-cov-2-nucleic-acid}]"


def read(tmp_path: Path, text: str) -> tuple[Policy, str]:
    """A file's policy and its faults, as one text."""
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    file = read_policy_file(path)
    return file.policy, "\n".join(file.faults)


def test_every_sample_is_read_without_faults() -> None:
    """The samples are read in the order of their names, each with the reason that its publication needs."""
    files = find_policy_files(SAMPLES)
    assert len(files) >= 18
    assert [file.faults for file in files if file.faults] == []
    assert [file.path.name for file in files] == sorted(file.path.name for file in files)
    assert all(file.retroactive_reason for file in files)


def test_time_without_quotation_marks_keeps_its_zone(tmp_path: Path) -> None:
    """YAML would make a time without a zone of it."""
    policy, faults = read(tmp_path, GOOD)
    assert not faults
    assert policy.effective_start_time.ToJsonString() == "2022-08-04T16:00:00Z"
    assert policy.test_required.window.duration.seconds == 48 * 3600


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("title:", "titel:", "titel"),
        ("PURPOSE_PUBLIC_VENUE", "PURPOSE_SHOP", "PURPOSE_SHOP"),
        ("title: 郑州 venues", "title: a\ntitle: b", "title occurs twice"),
        ("title: 郑州 venues", "revision: 3\ntitle: a", "revision is given by the service"),
        ("title: 郑州 venues\n", "", "title: is required"),
        ("410100/policies/venue", "410100/policies/Venue", "name: must be"),
        ("+08:00", "", "effective_start_time"),
        ("effective_start_time: 2022-08-05T00:00:00+08:00\n", "", "effective_start_time: is required"),
        ("title:", "effective_end_time: 2022-08-05T00:00:00+08:00\ntitle:", "must be after"),
        ("duration: 172800s, ", "", "duration or calendar_days is required"),
        (", basis: VALIDITY_BASIS_REPORT_TIME", "", "basis: is required"),
        ("172800s", "0s", "greater than 0s"),
        ("title:", "floor: true\ntitle:", "a floor has no length"),
        (
            "[PURPOSE_PUBLIC_VENUE]",
            "[PURPOSE_HOTEL, PURPOSE_HOTEL]",
            "purposes: repeated value must contain unique items",
        ),
        (
            "test_required:\n  window: {duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}\n",
            "",
            "one of them is required",
        ),
        ("purposes: [", "purposes: [[", "line 3"),
        ("window:", "shortest_window: {calendar_days: 2}\n  window:", "only a floor has one"),
        (
            "{duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}",
            "{basis: VALIDITY_BASIS_SAMPLE_TIME}\nfloor: true",
            "a floor counts from the report",
        ),
        ("window:", f"{EITHER}\n  window:", "accepted: must name each item once"),
        (
            "window:",
            "adverse_items: ['', items/sars-cov-2-nucleic-acid]\n  window:",
            "adverse_items: must name each item",
        ),
        ("window:", "accepted: [{item: antigen}]\n  window:", "accepted[0].item: must be items/"),
        (
            "window:",
            f"accepted: [{{}}, {{window: {BARE}}}]\n  window:",
            "accepted[1].window: duration or calendar_days",
        ),
        ("window:", "adverse_window: 0s\n  window:", "adverse_window: must be greater"),
        (
            f"window: {{duration: 172800s, {BARE[1:]}",
            "adverse_window: 1s\nfloor: true",
            "adverse_window: a floor states no",
        ),
        (f"window: {{duration: 172800s, {BARE[1:]}", f"{ANTIGEN}\nfloor: true", "accepted: a floor states no items"),
        (
            f"window: {{duration: 172800s, {BARE[1:]}",
            "adverse_items: ['']\nfloor: true",
            "adverse_items: a floor states no",
        ),
    ],
)
def test_fault_is_named(tmp_path: Path, old: str, new: str, hint: str) -> None:
    """The error says what the fault is, and where."""
    assert hint in read(tmp_path, GOOD.replace(old, new))[1]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("duration: 172800s", "duration: 2d", "Policy.test_required.window.duration：值不符合该字段的写法"),
        ("test_required:", "test_requird:", "Policy 没有字段 test_requird"),
        ("title:", "title: [", "不是 YAML"),
        ("purposes: [PURPOSE_PUBLIC_VENUE]", "purposes: x", "purposes：值不符合该字段的写法"),
        ("test_required:", "title: x\ntest_required:", "键 title 出现两次，在第"),
    ],
)
def test_fault_is_told_in_chinese(tmp_path: Path, old: str, new: str, told: str) -> None:
    """The parsers have English alone, so Chinese has the place and where to look."""
    with speaking(CHINESE):
        fault = read(tmp_path, GOOD.replace(old, new))[1]
    assert fault.startswith(told)


@pytest.mark.parametrize("text", ["", "- a list", "just text"])
def test_file_without_a_policy_is_a_fault(tmp_path: Path, text: str) -> None:
    """The file does not count as an empty policy."""
    assert "no policy" in read(tmp_path, text)[1]


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    """All faults are reported at once, so that a file is corrected once."""
    _, faults = read(tmp_path, "title: a\npurposes: [PURPOSE_HOTEL, PURPOSE_HOTEL]\n")
    assert len(faults.splitlines()) == 4


def test_what_a_service_adds_is_no_difference(tmp_path: Path) -> None:
    """A published policy says the same as the file it came from."""
    policy, _ = read(tmp_path, GOOD)
    published = Policy()
    published.CopyFrom(policy)
    published.MergeFrom(Policy(name=policy.name + "@3", revision=3, content_hash="ab", retroactive_reason="x"))
    published.publish_time.GetCurrentTime()
    published.origin = TRAVELER_ORIGIN_ANY
    policy.purposes.append(PURPOSE_HOTEL)
    published.ClearField("purposes")
    published.purposes.extend([PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE])
    assert policy.origin == TRAVELER_ORIGIN_UNSPECIFIED
    assert stated(published) == stated(policy)


def test_default_item_is_no_difference_by_either_of_its_names(tmp_path: Path) -> None:
    """The service leaves its name out, and a file may write it."""
    policy, faults = read(tmp_path, GOOD.replace("test_required:\n", f"test_required:\n{ITEMS}"))
    assert not faults
    published = Policy()
    published.CopyFrom(policy)
    published.test_required.accepted[0].item = ""
    published.test_required.adverse_items[0] = ""
    assert stated(published) == stated(policy)
    assert "+  - item: items/sars-cov-2-nucleic-acid" in diff(None, published, "new")
    published.test_required.adverse_items[:] = reversed(published.test_required.adverse_items)
    assert stated(published) != stated(policy)


def test_policy_that_asks_for_nothing_is_stated_as_such(tmp_path: Path) -> None:
    """No items are expected in such a policy."""
    text = GOOD.replace("test_required:\n  window: {duration: 172800s, " + BARE[1:] + "\n", "not_required: {}\n")
    policy, faults = read(tmp_path, text)
    assert not faults
    assert "test_required" not in stated(policy)
    assert stated(policy)["not_required"] == {}


def test_diff_shows_what_changes_in_the_files_own_words(tmp_path: Path) -> None:
    """Instants in civil time of China, as the file writes them."""
    policy, _ = read(tmp_path, GOOD)
    other, _ = read(tmp_path, GOOD.replace("172800s", "86400s").replace("08-05", "08-06"))
    lines = [line for line in diff(policy, other, "new") if line[0] in "+-" and line[1] not in "+-"]
    assert lines == [
        "-    duration: 172800s",
        "+    duration: 86400s",
        "-effective_start_time: '2022-08-05T00:00:00+08:00'",
        "+effective_start_time: '2022-08-06T00:00:00+08:00'",
    ]
    assert all(line.startswith("+") for line in diff(None, policy, "new")[3:])


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("title: 郑州 venues", 'title: "a\\0b"', "title: must not hold line breaks, tabs or other control characters"),
        ("title: 郑州 venues", 'title: "a\\eb"', "title: must not hold line breaks, tabs or other control characters"),
        ("title: 郑州 venues", f"title: {'郑' * 201}", "title: must be at most 200 characters"),
        ("title: 郑州 venues", "title: [a]", "title"),
        ("title:", f"advice: [{'x, ' * 10}x]\ntitle:", "advice: must contain no more than 10 item(s)"),
        ("title:", f"advice: [a, {'x' * 301}]\ntitle:", "advice[1]: must be at most 300 characters"),
        ("title:", "source: {issue_date: 5 August}\ntitle:", "source.issue_date: must be a date like 2022-08-09"),
        (
            "duration: 172800s",
            "duration: 31536001s",
            "window.duration: must be greater than 0s and less than or equal to 31536000s",
        ),
        (
            "duration: 172800s",
            "calendar_days: 366",
            "window.calendar_days: must be greater than or equal to 1 and less than or equal to 365",
        ),
        ("2022-08-05", "1899-08-05", "effective_start_time: must be greater than or equal to 1900"),
        ("a sample", "[a, list]", "retroactive_reason: must be a text"),
        ("a sample", "5", "retroactive_reason: must be a text"),
        ("a sample", '"a\\0b"', "retroactive_reason: must not hold the character NUL"),
        ("a sample", "x" * 501, "retroactive_reason: must be at most 500 characters"),
        ("title:", f"advice: {'[' * 3000}{']' * 3000}\ntitle:", "nested too deep"),
        ("title:", "advice: &a [*a]\ntitle:", "advice"),
        ("title:", "5: x\ntitle:", "5"),
    ],
)
def test_limit_of_the_contract_is_named_offline(tmp_path: Path, old: str, new: str, hint: str) -> None:
    """The limits are the contract's own, and no file makes the command fail in another way."""
    assert hint in read(tmp_path, GOOD.replace(old, new))[1]


def test_former_names_of_enum_values_are_still_read(tmp_path: Path) -> None:
    """Until the first release, authorities' files may have them. Output has the present names."""
    former = GOOD.replace("VALIDITY_BASIS_", "BASIS_").replace("title:", "origin: ORIGIN_SAME_PROVINCE\ntitle:")
    present = GOOD.replace("title:", "origin: TRAVELER_ORIGIN_SAME_PROVINCE\ntitle:")
    assert former != GOOD
    policy, faults = read(tmp_path, former)
    assert not faults
    assert policy == read(tmp_path, present)[0]
    assert stated(policy)["origin"] == "TRAVELER_ORIGIN_SAME_PROVINCE"


def test_two_files_for_the_same_rule_and_start_are_a_fault(tmp_path: Path) -> None:
    """Each application of the files would undo one of the two. A file with another start is the next revision."""
    (tmp_path / "1.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "2.yaml").write_text(GOOD.replace("郑州", "Zhengzhou"), encoding="utf-8")
    (tmp_path / "3.yaml").write_text(GOOD.replace("2022-08-05", "2022-09-05"), encoding="utf-8")
    assert [bool(file.faults) for file in find_policy_files(tmp_path)] == [False, True, False]
    assert "1.yaml states jurisdictions/410100/policies/venue" in find_policy_files(tmp_path)[1].faults[0]
