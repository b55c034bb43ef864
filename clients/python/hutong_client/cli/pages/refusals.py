"""Page of `hutong refusal summary --html`: reported refusals by region, ground and time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1.refusal_ground_pb2 import RefusalGround
from hutong.verification.v1.refusal_service_pb2 import (
    REFUSAL_GROUPING_DISTRICT as DISTRICT,
)
from hutong.verification.v1.refusal_service_pb2 import (
    REFUSAL_GROUPING_PROVINCE as PROVINCE,
)
from hutong.verification.v1.refusal_service_pb2 import (
    REFUSAL_GROUPING_VENUE_KIND as VENUE_KIND,
)
from hutong.verification.v1.refusal_service_pb2 import RefusalCounts, RefusalSummary
from hutong_texts import english, tr

from hutong_client.cli.pages.charts import Bar, bars, columns
from hutong_client.cli.pages.frame import Column, Figure, badge, figures, legend, page, section, table
from hutong_client.cli.pages.html import Html, tag
from hutong_client.cli.pages.refusal_rates import owed_answers, per_decisions, venue_kinds
from hutong_client.cli.provinces import province_of, region_words
from hutong_client.formatting import moment, span, word

MOST_SHOWN = 30
"""The most rows of a chart, so that the chart stays readable. The table has all rows."""
_LEGEND = (("bad", english("assessed as unlawful")), ("pale", english("not unlawful, or undetermined")))


@dataclass(frozen=True, slots=True)
class Asked:
    """The question: a region and an interval. An empty region means all regions."""

    region: str
    start_time: Timestamp
    end_time: Timestamp


@dataclass(slots=True)
class _Sum:
    """Counts of a group of reports."""

    reports: int = 0
    unlawful: int = 0
    open: int = 0

    def add(self, counts: RefusalCounts) -> None:
        self.reports += counts.refusal_count
        self.unlawful += counts.unlawful_count
        self.open += counts.open_count

    def bar(self, label: str) -> Bar:
        words = tr("{reports:,} · {unlawful:,} unlawful", reports=self.reports, unlawful=self.unlawful)
        return Bar(label, self.reports, words, part=self.unlawful, tone="bad", detail=self._open_words())

    def _open_words(self) -> str:
        return tr("{open:,} not answered", open=self.open) if self.open else tr("all answered")


def refusals_page(whole: Sequence[RefusalSummary], over_time: Sequence[RefusalSummary], asked: Asked) -> str:
    """Return the page as HTML.

    Args:
        whole: the service's summaries of the whole interval by province, district and kind of venue.
        over_time: the service's summaries of the same interval by day, week or month.
        asked: the question.
    """
    by_province, by_venue = _of_grouping(whole, PROVINCE), _of_grouping(whole, VENUE_KIND)
    whole = [row for row in _of_grouping(whole, DISTRICT) if row.total.refusal_count]
    over_time = [row for row in over_time if row.total.refusal_count]
    parts = [figures(_figures(whole))]
    if whole:
        provinces = _sum((province_of(row.region), row.total) for row in whole)
        grounds = _sum((_ground(it.ground), it.counts) for row in whole for it in row.grounds)
        parts += [
            section(
                tr("By province"),
                legend(_LEGEND),
                bars(_by_reports(provinces, region_words)),
                note=tr("Most reports first."),
            ),
            section(
                tr("By ground"),
                legend(_LEGEND),
                bars(_by_reports(grounds, str)),
                note=tr("Grounds as reported. A report with several grounds is counted under each of them."),
            ),
            venue_kinds(by_venue),
            per_decisions(by_province),
            _over_time(over_time),
            owed_answers(whole),
            _times_to_answer(whole),
            section(tr("All figures"), table(_COLUMNS, [line for row in whole for line in _lines(row)])),
        ]
    else:
        parts.append(section(tr("No reports"), note=tr("No refusal was reported for this interval and region.")))
    return page(
        tr("Refusals of valid results"),
        parts,
        subtitle=tr(
            "{ending} · refusals from {start_time} to {end_time} (China time)",
            ending=region_words(asked.region) if asked.region else tr("All regions"),
            start_time=moment(asked.start_time)[:16],
            end_time=moment(asked.end_time)[:16],
        ),
        footer=tr("Unlawful: on a ground that the policy forbids, or although a result was recognised at that time."),
    )


def _of_grouping(rows: Sequence[RefusalSummary], grouping: int) -> list[RefusalSummary]:
    return [row for row in rows if (row.grouping or DISTRICT) == grouping]


def _figures(rows: Sequence[RefusalSummary]) -> list[Figure]:
    total = _Sum()
    for row in rows:
        total.add(row.total)
    share = f" ({total.unlawful / total.reports:.0%})" if total.reports else ""
    return [
        Figure(f"{total.reports:,}", tr("reports of refusals")),
        Figure(f"{total.unlawful:,}{share}", tr("assessed as unlawful"), "bad" if total.unlawful else "good"),
        Figure(f"{total.open:,}", tr("not answered yet"), "warn" if total.open else "good"),
        Figure(f"{len(rows):,}", tr("jurisdictions they came from")),
    ]


def _sum(counted: Iterable[tuple[str, RefusalCounts]]) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = defaultdict(_Sum)
    for key, counts in counted:
        sums[key].add(counts)
    return sums


def _by_reports(sums: dict[str, _Sum], words: Callable[[str], str]) -> list[Bar]:
    ordered = sorted(sums.items(), key=lambda item: (-item[1].reports, item[0]))
    return [it.bar(words(key)) for key, it in ordered]


def _over_time(rows: Sequence[RefusalSummary]) -> Html:
    """Draw a column for each day, week or month with reports."""
    sums = _sum((moment(row.interval.start_time)[:10], row.total) for row in rows)
    shown = [replace(it.bar(day), label=day[5:]) for day, it in sorted(sums.items())]
    note = tr("Labels are first days. Days, weeks or months without reports are left out.")
    return section(tr("Over time"), legend(_LEGEND), columns(shown), note=note) if len(shown) > 1 else Html()


def _times_to_answer(rows: Sequence[RefusalSummary]) -> Html:
    """Draw the slowest jurisdictions, and list those that never answered."""
    answering = [(row.region, row.total) for row in rows if row.total.HasField("median_time_to_answer")]
    answering.sort(key=lambda it: -it[1].median_time_to_answer.seconds)
    shown = [
        Bar(
            region_words(region),
            total.median_time_to_answer.seconds,
            span(total.median_time_to_answer),
            detail=tr(
                "{answered:,} answered, {open_count:,} open",
                answered=total.refusal_count - total.open_count,
                open_count=total.open_count,
            ),
        )
        for region, total in answering[:MOST_SHOWN]
    ]
    never = [(row.region, row.total) for row in rows if not row.total.HasField("median_time_to_answer")]
    never.sort(key=lambda it: (-it[1].open_count, it[0]))
    items = [
        tag("li", tr("{region}: {open_count:,} open", region=region_words(region), open_count=total.open_count))
        for region, total in never
    ]
    return section(
        tr("Time to answer"),
        bars(shown) if shown else Html(),
        tag("h3", tr("Never answered")) if never else Html(),
        tag("ul", *items) if never else Html(),
        note=tr("Median time from report to answer of each jurisdiction that answered, slowest first."),
    )


_COLUMNS = (
    Column(english("region")),
    Column(english("ground")),
    Column(english("reports"), number=True),
    Column(english("unlawful"), number=True),
    Column(english("open"), number=True),
    Column(english("median to answer"), number=True),
)


def _lines(row: RefusalSummary) -> Iterator[Sequence[str]]:
    """Yield a line for all grounds together, then a line for each ground."""
    yield _line(row.region, tag("strong", tr("all grounds")), row.total)
    yield from (_line(row.region, _ground(it.ground), it.counts) for it in row.grounds)


def _line(region: str, ground: str, counts: RefusalCounts) -> Sequence[str]:
    return (
        region_words(region),
        ground,
        f"{counts.refusal_count:,}",
        badge(f"{counts.unlawful_count:,}", "bad") if counts.unlawful_count else "0",
        badge(f"{counts.open_count:,}", "warn") if counts.open_count else "0",
        span(counts.median_time_to_answer) if counts.HasField("median_time_to_answer") else "",
    )


def _ground(ground: int) -> str:
    return word(RefusalGround, ground, "REFUSAL_GROUND_")
