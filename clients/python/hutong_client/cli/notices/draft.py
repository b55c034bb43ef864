"""Composes the draft of a notice (通报). Pure. Each sentence states figures; without a figure there is no sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.timeliness_pb2 import Timeliness
from hutong.verification.v1.refusal_pb2 import VenueKind
from hutong.verification.v1.refusal_service_pb2 import RefusalSummary
from hutong_texts import ENGLISH, current_language, tr

from hutong_client.cli.notices.figures import Figures
from hutong_client.cli.provinces import region_words
from hutong_client.formatting import moment, span, word
from hutong_client.tables.regions import full_name

Row = TypeVar("Row")
_NUMERALS = "一二三四五六七八九十"
_INDENT = "　　"
"""A Chinese paragraph begins with two wide spaces."""


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered section: its heading, its sentences, and its numbered items, the worst first."""

    heading: str
    sentences: Sequence[str]
    items: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft: its title, what it covers, its sections, and its date."""

    title: str
    scope: str
    sections: Sequence[Section]
    date: str

    def text(self) -> str:
        """Return the draft as plain text, laid out as an office lays out a notice."""
        lines = [self.title, tr("(Draft. Check every figure before it is issued.)"), "", _paragraph(self.scope)]
        for number, section in enumerate(self.sections, start=1):
            lines += ["", _paragraph(f"{_numeral(number)}{section.heading}")]
            if section.sentences:
                lines.append(_paragraph(_gap().join(section.sentences)))
            lines += [_paragraph(f"{_item(at)}{item}") for at, item in enumerate(section.items, start=1)]
        return "\n".join([*lines, "", self.date]) + "\n"


def draft_notice(figures: Figures, today: Timestamp, most: int) -> Draft:
    """Return the draft of a notice. Each list has at most `most` items, and says how many it leaves out."""
    place = _place(figures.region)
    scope = tr(
        "This notice covers the time from {start_time} to {end_time} (China time).",
        start_time=_minute(figures.start_time),
        end_time=_minute(figures.end_time),
    )
    sections = [
        Section(tr("Reported refusals of valid results"), list(_overview(figures, today))),
        _unlawful_places(figures.places, most),
        _unlawful_venues(figures.venue_kinds, most),
        _overdue_places(figures.places, most),
        _late_places(figures.places, most),
        _unanswering_places(figures.places, most),
        Section(tr("Uploads of laboratories"), list(_uploads(figures))),
        _late(tr("Places with late uploads"), figures.upload_places, most),
        _late(tr("Laboratories that uploaded late"), figures.labs, most),
        _silent_labs(figures.labs, most),
    ]
    title = tr("Notice on the recognition of test results in {place}", place=place)
    return Draft(title, scope, [one for one in sections if one.sentences or one.items], _day(today))


def _overview(figures: Figures, today: Timestamp) -> Iterator[str]:
    row = figures.whole
    if row is None:
        return
    total = row.total
    yield tr("{count:,} refusals were reported.", count=total.refusal_count)
    if total.assessed_count:
        yield tr(
            "{assessed:,} are assessed, and {unlawful:,} of these ({share:.1%}) were unlawful.",
            assessed=total.assessed_count,
            unlawful=total.unlawful_count,
            share=total.unlawful_count / total.assessed_count,
        )
    if total.refusal_count:
        yield tr(
            "{answered:,} of {count:,} ({share:.1%}) are answered; {overdue:,} answers are overdue.",
            answered=total.answered_count,
            count=total.refusal_count,
            share=total.answered_count / total.refusal_count,
            overdue=total.overdue_count,
        )
    if total.escalated_count:
        yield tr(
            "{escalated:,} of {count:,} ({share:.1%}) were not answered in time, and a node above has taken them over.",
            escalated=total.escalated_count,
            count=total.refusal_count,
            share=total.escalated_count / total.refusal_count,
        )
    if total.HasField("median_time_to_answer"):
        yield tr("Half of the answers took no more than {time}.", time=span(total.median_time_to_answer))
    if total.HasField("oldest_open_time"):
        yield tr(
            "The oldest report without an answer was made at {time} and has waited {age}.",
            time=_minute(total.oldest_open_time),
            age=span(Duration(seconds=max(today.seconds - total.oldest_open_time.seconds, 0))),
        )
    yield from _decisions(row, figures)


def _decisions(row: RefusalSummary, figures: Figures) -> Iterator[str]:
    decisions = row.decisions
    if not row.rates.HasField("refusals_per_decision"):
        return
    since = figures.decision_start_time
    if since is not None and since.ToNanoseconds() > figures.start_time.ToNanoseconds():
        yield tr("Decisions are counted since {time}.", time=_minute(since))
    yield tr(
        "{decisions:,} decisions were asked for, and {count:,} refusals were reported in the same time, "
        "{rate:.3f} per 1,000 decisions.",
        decisions=decisions.decision_count,
        count=decisions.refusal_count,
        rate=1000 * row.rates.refusals_per_decision,
    )


def _unlawful_places(rows: Sequence[RefusalSummary], most: int) -> Section:
    found = sorted((row for row in rows if row.total.unlawful_count), key=_by_unlawful)
    return _list(tr("Places with unlawful refusals"), found, most, lambda row: _unlawful(_place(row.region), row))


def _unlawful_venues(rows: Sequence[RefusalSummary], most: int) -> Section:
    found = sorted((row for row in rows if row.total.unlawful_count and row.venue_kind), key=_by_unlawful)

    def item(row: RefusalSummary) -> str:
        return _unlawful(word(VenueKind, row.venue_kind, "VENUE_KIND_"), row)

    return _list(tr("Kinds of venue with unlawful refusals"), found, most, item)


def _by_unlawful(row: RefusalSummary) -> tuple[float, float, str]:
    """Order by the number of unlawful refusals, then by their share."""
    return -row.total.unlawful_count, -row.total.unlawful_count / max(row.total.assessed_count, 1), row.region


def _unlawful(name: str, row: RefusalSummary) -> str:
    return tr(
        "{name}: {unlawful:,} of {assessed:,} assessed refusals were unlawful ({share:.1%}).",
        name=name,
        unlawful=row.total.unlawful_count,
        assessed=row.total.assessed_count,
        share=row.total.unlawful_count / max(row.total.assessed_count, 1),
    )


def _overdue_places(rows: Sequence[RefusalSummary], most: int) -> Section:
    found = sorted(
        (row for row in rows if row.total.overdue_count),
        key=lambda row: (-row.total.overdue_count, row.total.oldest_open_time.ToNanoseconds(), row.region),
    )

    def item(row: RefusalSummary) -> str:
        return tr(
            "{name}: {overdue:,} of {count:,} answers are overdue. The oldest open report is of {time}.",
            name=_place(row.region),
            overdue=row.total.overdue_count,
            count=row.total.refusal_count,
            time=_minute(row.total.oldest_open_time),
        )

    return _list(tr("Places with overdue answers"), found, most, item)


def _late_places(rows: Sequence[RefusalSummary], most: int) -> Section:
    found = sorted(
        (row for row in rows if row.total.escalated_count),
        key=lambda row: (
            -row.total.escalated_count,
            -row.total.escalated_count / row.total.refusal_count,
            row.region,
        ),
    )

    def item(row: RefusalSummary) -> str:
        return tr(
            "{name}: {escalated:,} of {count:,} reports were not answered in time and taken over ({share:.1%}).",
            name=_place(row.region),
            escalated=row.total.escalated_count,
            count=row.total.refusal_count,
            share=row.total.escalated_count / row.total.refusal_count,
        )

    return _list(tr("Places whose answers a node above had to take over"), found, most, item)


def _unanswering_places(rows: Sequence[RefusalSummary], most: int) -> Section:
    found = sorted(
        (row for row in rows if row.total.refusal_count and not row.total.answered_count),
        key=lambda row: (-row.total.refusal_count, row.region),
    )

    def item(row: RefusalSummary) -> str:
        return tr(
            "{name}: none of {count:,} reports is answered. The oldest is of {time}.",
            name=_place(row.region),
            count=row.total.refusal_count,
            time=_minute(row.total.oldest_open_time),
        )

    return _list(tr("Places without any answer"), found, most, item)


def _uploads(figures: Figures) -> Iterator[str]:
    row = figures.uploads
    if row is None:
        return
    if figures.retention_start_time is not None:
        yield tr(
            "Reports issued before {time} are no longer kept and not counted.",
            time=_minute(figures.retention_start_time),
        )
    if row.result_count:
        yield tr(
            "{late:,} of {count:,} uploaded reports ({share:.1%}) came later than {threshold} after their issue.",
            count=row.result_count,
            late=row.late_count,
            share=row.late_count / row.result_count,
            threshold=span(figures.late_threshold),
        )
        yield tr(
            "Half were uploaded within {p50}, and 95 of 100 within {p95}.",
            p50=span(row.report_to_upload.p50),
            p95=span(row.report_to_upload.p95),
        )
    if row.lab_count:
        yield tr(
            "{silent:,} of {count:,} registered laboratories are silent now.",
            silent=row.silent_lab_count,
            count=row.lab_count,
        )


def _late(heading: str, rows: Sequence[Timeliness], most: int) -> Section:
    found = sorted(
        (row for row in rows if row.late_count),
        key=lambda row: (-row.late_count, -row.late_count / row.result_count, row.lab or row.region),
    )

    def item(row: Timeliness) -> str:
        return tr(
            "{name}: {late:,} of {count:,} uploads were late ({share:.1%}); 95 of 100 came within {p95}.",
            name=_lab(row) if row.lab else _place(row.region),
            late=row.late_count,
            count=row.result_count,
            share=row.late_count / row.result_count,
            p95=span(row.report_to_upload.p95),
        )

    return _list(heading, found, most, item)


def _silent_labs(labs: Sequence[Timeliness], most: int) -> Section:
    found = sorted(
        (row for row in labs if row.HasField("silence_start_time")),
        key=lambda row: (row.silence_start_time.ToNanoseconds(), row.lab),
    )

    def item(row: Timeliness) -> str:
        return tr("{name}: the last upload was at {time}.", name=_lab(row), time=_minute(row.silence_start_time))

    return _list(tr("Laboratories that are silent"), found, most, item)


def _list(heading: str, found: Sequence[Row], most: int, item: Callable[[Row], str]) -> Section:
    left = len(found) - most
    more = [tr("The {most:,} worst of {count:,} are named.", most=most, count=len(found))] if left > 0 else []
    return Section(heading, more, [item(row) for row in found[:most]])


def _lab(row: Timeliness) -> str:
    code = row.lab.removeprefix("labs/")
    return f"{row.lab_display_name} {code}" if row.lab_display_name else code


def _place(region: str) -> str:
    return region_words(region) if current_language() == ENGLISH else full_name(region)


def _minute(stamp: Timestamp) -> str:
    """Format an instant to the minute, as "2022-08-11 09:30", in Chinese "2022年8月11日9时30分"."""
    text = moment(stamp)[:16]
    if current_language() == ENGLISH or not text:
        return text
    return f"{_day(stamp)}{int(text[11:13])}时{text[14:16]}分"


def _day(stamp: Timestamp) -> str:
    """Format the day of an instant, as "2022-08-11", in Chinese "2022年8月11日"."""
    text = moment(stamp)[:10]
    if current_language() == ENGLISH:
        return text
    return f"{text[:4]}年{int(text[5:7])}月{int(text[8:10])}日"


def _paragraph(text: str) -> str:
    return text if current_language() == ENGLISH else _INDENT + text


def _gap() -> str:
    """Return what separates sentences."""
    return " " if current_language() == ENGLISH else ""


def _numeral(number: int) -> str:
    return f"{number}. " if current_language() == ENGLISH else f"{_NUMERALS[number - 1]}、"


def _item(number: int) -> str:
    return f"({number}) " if current_language() == ENGLISH else f"（{_chinese(number)}）"


def _chinese(number: int) -> str:
    """Write a number in Chinese up to 99; a greater one in digits."""
    tens, ones = divmod(number, 10)
    if not 0 < number < 100:
        return str(number)
    return ("" if tens < 2 else _NUMERALS[tens - 1]) + ("十" if tens else "") + (_NUMERALS[ones - 1] if ones else "")
