"""Limits on what a node may send: the limits of uploads, checked again at the nation.

A node is trusted for its own results, but the form of results is checked. What no upload accepts must not enter the
nation's store, because every node reads that store. The limits are wide enough for an honest node of another version or
with a wrong clock, because a refused batch is sent again and blocks everything after it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from hutong.results.v1 import result_pb2
from hutong.type.v1 import outcome_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import DAY, FIRST_TESTS, Instant, Span
from services.domain.names import are_report_numbers, is_item, is_uscc
from services.results.exchange.model import AdverseSubject, Change, Replica, ReplicaTubes
from services.results.labs.model import Lab
from services.results.missing_reports.model import MissingReport

MAX_AHEAD: Span = 31 * DAY
"""How far a time may be ahead of this node's clock. The limit is wide, because a wrong clock is to be reported, and not
to block the exchange."""
_EARLIEST_STANDING: Instant = -2_208_988_800_000_000
"""1900-01-01: the contract allows no earlier authorisation of a laboratory."""
_END_OF_STANDINGS: Instant = 253_402_300_800_000_000
"""The end of the year 9999: the contract allows no standing that begins later."""
MAX_POOL = 20
"""The largest pool. A tube is made for 20 persons."""
MAX_KIND = 1_000
"""The largest number of a kind of specimen, method or answer. The limit is far above the known numbers, because newer
versions may know further kinds."""

_CODE = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_REGION = re.compile(r"[0-9]{6}")
_SITE = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
_TEXT = re.compile(r"[^\x00]{0,500}")
_OUTCOMES = frozenset(outcome_pb2.Outcome.values()) - {outcome_pb2.OUTCOME_UNSPECIFIED}
_STATES = frozenset(result_pb2.ResultState.values()) - {result_pb2.RESULT_STATE_UNSPECIFIED}


def check_tubes(tubes: ReplicaTubes, key_version: int, now: Instant) -> None:
    """Check tubes against the limits of uploads. Raise InvalidArgument that names the column."""
    _require(is_uscc(tubes.lab), "tubes.lab")
    _require(1 <= tubes.key_version <= key_version, "tubes.key_version")
    _check_times([tubes.upload_time], now, "tubes.upload_time")
    columns = dict(zip(tubes.tubes[0]._fields, zip(*tubes.tubes, strict=True), strict=True))
    _check_columns(columns, now, "tubes")
    _check_report_numbers(tubes.report_numbers, "tubes.report_number")


def check_change(change: Change, key_version: int, now: Instant) -> None:
    """Check a change. Raise InvalidArgument that names the field. Links are not checked, because they have no texts."""
    if isinstance(change, Replica):
        _check_replica(change, key_version, now)
    elif isinstance(change, Lab):
        _check_lab(change, now)
    elif isinstance(change, MissingReport):
        _check_report_numbers([change.report_number], "missing_report.report_number")
        _check_times([change.create_time], now, "missing_report.create_time")
        if (answer := change.answer) is not None:
            _check_times([answer.answer_time], now, "missing_report.lab_answer.answer_time")
            expected = answer.answer_time if answer.expected_time is None else answer.expected_time
            _check_times([expected], now + MAX_AHEAD, "missing_report.lab_answer.expected_time")
            _check_numbers([answer.answer], 1, MAX_KIND, "missing_report.lab_answer.answer")
    elif isinstance(change, AdverseSubject):
        _require(False, "adverse_subject")


def check_instant(instant: Instant, now: Instant, field: str) -> Instant:
    """Return the time that a node states for a past event. Raise InvalidArgument if it is too early or too late."""
    _check_times([instant], now, field)
    return instant


def _check_replica(replica: Replica, key_version: int, now: Instant) -> None:
    result = replica.result
    _require(is_uscc(result.lab), "result.lab")
    _require(1 <= replica.key_version <= key_version, "key_version")
    _require(result.state in _STATES, "result.state")
    times = (
        [result.upload_time]
        if result.national_receive_time is None
        else [result.upload_time, result.national_receive_time]
    )
    _check_times(times, now, "result.upload_time")
    _check_report_numbers([result.report_number], "result.report_number")
    _check_columns({name: (value,) for name, value in result._asdict().items()}, now, "result")


def _check_lab(lab: Lab, now: Instant) -> None:
    _require(is_uscc(lab.uscc), "lab.name")
    _check_texts([lab.region], _REGION, "lab.region")
    _check_texts([lab.display_name, *(change.reason for change in lab.changes)], _TEXT, "lab")
    recorded = [lab.create_time, *(change.record_time for change in lab.changes)]
    effective = [change.effective_time for change in lab.changes if change.effective_time is not None]
    authorized = [] if lab.authorize_time is None else [lab.authorize_time]
    _require(all(_EARLIEST_STANDING <= time <= now + MAX_AHEAD for time in recorded), "lab.standings.record_time")
    _require(
        all(_EARLIEST_STANDING <= time < _END_OF_STANDINGS for time in (*effective, *authorized)),
        "lab.standings.effective_time",
    )


def _check_columns(columns: dict[str, tuple[object, ...]], now: Instant, field: str) -> None:
    """Check the columns that tubes and single results share.

    Each column is checked as a whole, because most values in a column are equal.
    """
    _check_texts(columns["tube_code"], _CODE, f"{field}.tube_code")
    _check_texts(columns["sample_region"], _REGION, f"{field}.sample_region")
    _check_texts(columns["sample_site"], _SITE, f"{field}.sample_site")
    _check_numbers(columns["pool_size"], 1, MAX_POOL, f"{field}.pool_size")
    for name in ("specimen", "method"):
        _check_numbers(columns[name], 0, MAX_KIND, f"{field}.{name}")
    _require(all(isinstance(item, str) and is_item(item) for item in set(columns["item"])), f"{field}.item")
    _require(_OUTCOMES.issuperset(columns["outcome"]), f"{field}.outcome")
    for name in ("sample_time", "receive_time", "test_time", "report_time"):
        times = {time for time in columns[name] if isinstance(time, int)}
        _check_times(times, now, f"{field}.{name}")


def _check_texts(texts: Iterable[object], pattern: re.Pattern[str], field: str) -> None:
    _require(all(isinstance(text, str) and pattern.fullmatch(text) for text in set(texts)), field)


def _check_report_numbers(numbers: Collection[str], field: str) -> None:
    _require(are_report_numbers(numbers), field)


def _check_numbers(numbers: Iterable[object], least: int, most: int, field: str) -> None:
    _require(all(isinstance(number, int) and least <= number <= most for number in set(numbers)), field)


def _check_times(times: Collection[Instant], now: Instant, field: str) -> None:
    if times:
        _require(min(times) >= FIRST_TESTS and max(times) <= now + MAX_AHEAD, field)


def _require(holds: bool, field: str) -> None:
    if not holds:
        raise InvalidArgument.field(field, english("holds what no node can have sent"))
