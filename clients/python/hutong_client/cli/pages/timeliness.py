"""Page of `hutong timeliness --html`: late results and delays of laboratories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import timeliness_pb2
from hutong.results.v1.timeliness_pb2 import DelayQuantiles, Timeliness
from hutong_texts import english, tr

from hutong_client.cli.pages.charts import Bar, Range, bars, hour_ticks, ranges
from hutong_client.cli.pages.frame import Column, Figure, Tone, badge, figures, legend, page, section, table
from hutong_client.cli.pages.html import Html, tag
from hutong_client.cli.provinces import region_words
from hutong_client.formatting import moment, span

MOST_SHOWN = 30
"""The most rows of a chart, so that the chart stays readable. The table has all rows."""
_COARSER = {
    timeliness_pb2.TIMELINESS_GROUPING_PROVINCE: english("By province"),
    timeliness_pb2.TIMELINESS_GROUPING_CITY: english("By city"),
}
_MANY_LATE = 0.05
"""A laboratory is red if at least one in twenty of its results is late. It is amber if fewer are late, but at least
one. No rule prescribes this share."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The question, the known names of laboratories, and the rows of the whole by day, week or month."""

    subject: str
    start_time: Timestamp
    end_time: Timestamp
    late_threshold: Duration
    lab_names: Mapping[str, str]
    trend: Sequence[Timeliness] = ()


def timeliness_page(found: Sequence[Timeliness], asked: Asked) -> str:
    """Return the page as HTML.

    `found` is the service's answer: the laboratory or region that was asked for, then the laboratories of a region, its
    provinces or its cities. If there are several groupings, the charts show the finest grouping, and each other
    grouping has a table.
    """
    whole, rows = found[0], sorted(found[1:] or found, key=lambda it: (-late_share(it), -it.late_count, subject_of(it)))
    finest = max(it.grouping for it in rows)
    labs = [it for it in rows if it.grouping == finest]
    reported = [it for it in labs if it.result_count]
    silent = [it for it in labs if not it.result_count]
    late = [it for it in reported if it.late_count]
    threshold = span(asked.late_threshold)
    parts = [figures(_figures(whole, labs, late, silent))]
    if late:
        note = tr(
            "Share of a laboratory's results that were uploaded more than {threshold} after their report, worst first.",
            threshold=threshold,
        )
        parts.append(
            section(
                tr("Late results"), bars([_late_bar(it, asked) for it in late[:MOST_SHOWN]]), _more(late), note=note
            )
        )
    elif reported:
        parts.append(
            section(
                tr("Late results"),
                note=tr("None: every result was uploaded within {threshold} of its report.", threshold=threshold),
            )
        )
    if reported:
        slowest = sorted(reported, key=lambda it: -hours(it.report_to_upload.p99))
        parts.append(_delays(tr("From report to upload"), slowest, asked, nationwide=False))
    known = [it for it in reported if it.upload_to_nationwide.HasField("p50")]
    if known:
        slowest = sorted(known, key=lambda it: -hours(it.upload_to_nationwide.p99))
        parts.append(_delays(tr("From upload to the national node"), slowest, asked, nationwide=True))
    if len(asked.trend) > 1:
        parts.append(section(tr("Late results over time"), bars([_trend_bar(it) for it in asked.trend])))
    stopped = [it for it in labs if it.HasField("silence_start_time")]
    if stopped:
        stopped.sort(key=lambda it: it.silence_start_time.ToMicroseconds())
        note = tr("Authorised laboratories that have reported before, longest silence first.")
        parts.append(
            section(tr("Silent laboratories"), table(_SILENT, [_silent_row(it, asked) for it in stopped]), note=note)
        )
    if silent and not silent[0].region:
        names = [tag("li", _name(it, asked), tag("small", f" {_code(it, asked)}")) for it in silent]
        note = tr("Registered laboratories without an uploaded report that was issued in this interval.")
        parts.append(section(tr("Laboratories without reports"), tag("ul", *names), note=note))
    for grouping, heading in _COARSER.items():
        some = [it for it in rows if it.grouping == grouping != finest]
        if some:
            parts.append(section(tr(heading), table(_COLUMNS, [_row(it, asked) for it in some])))
    parts.append(section(tr("All figures"), table(_COLUMNS, [_row(it, asked) for it in labs])))
    return page(
        tr("Timeliness of reports"),
        parts,
        subtitle=tr(
            "{subject} · reports issued {start_time} to {end_time} (China time) · late is more "
            "than {threshold} after the report",
            subject=_words(asked.subject, asked),
            start_time=moment(asked.start_time)[:16],
            end_time=moment(asked.end_time)[:16],
            threshold=threshold,
        ),
        footer=tr("Delays are counted in classes that grow by 5 %, so a quantile is at most 5 % too long."),
    )


def subject_of(shown: Timeliness) -> str:
    """Return the laboratory, "labs/{uscc}", or the region of a summary."""
    return shown.lab or shown.region


def late_share(shown: Timeliness) -> float:
    """Return late results as a share of all results; 0 if there are no results."""
    return shown.late_count / shown.result_count if shown.result_count else 0.0


def hours(duration: Duration) -> float:
    """Convert a duration to hours."""
    return (duration.seconds + duration.nanos / 1e9) / 3600


def _figures(
    whole: Timeliness, labs: Sequence[Timeliness], late: Sequence[Timeliness], silent: Sequence[Timeliness]
) -> list[Figure]:
    quantiles = whole.report_to_upload
    shown = [
        Figure(f"{whole.result_count:,}", tr("results")),
        Figure(f"{late_share(whole):.1%}", tr("late ({late_count:,})", late_count=whole.late_count), _tone(whole)),
        Figure(span(quantiles.p50) if whole.result_count else "–", tr("half were uploaded within")),
        Figure(span(quantiles.p99) if whole.result_count else "–", tr("99 of 100 were uploaded within")),
    ]
    if whole.silent_lab_count:
        shown.append(Figure(f"{whole.silent_lab_count:,}", tr("silent laboratories"), "warn"))
    if len(labs) > 1 and not labs[0].region:
        shown.append(
            Figure(
                tr("{count} of {count2}", count=len(late), count2=len(labs)),
                tr("laboratories late"),
                "bad" if late else "good",
            )
        )
        shown.append(Figure(f"{len(silent)}", tr("laboratories without reports"), "warn" if silent else "good"))
    return shown


def _trend_bar(shown: Timeliness) -> Bar:
    words = _share_words(shown)
    return Bar(moment(shown.interval.start_time)[:10], late_share(shown), words, tone=_tone(shown))


def _late_bar(shown: Timeliness, asked: Asked) -> Bar:
    words = _share_words(shown)
    return Bar(_name(shown, asked), late_share(shown), words, tone=_tone(shown), detail=_code(shown, asked))


def _share_words(shown: Timeliness) -> str:
    return tr(
        "{share:.1%} · {late_count:,} of {result_count:,}",
        share=late_share(shown),
        late_count=shown.late_count,
        result_count=shown.result_count,
    )


def _delays(heading: str, shown: Sequence[Timeliness], asked: Asked, *, nationwide: bool) -> Html:
    def quantiles(it: Timeliness) -> DelayQuantiles:
        return it.upload_to_nationwide if nationwide else it.report_to_upload

    ticks = hour_ticks(max(hours(quantiles(it).p99) for it in shown))
    rows = [
        Range(
            _name(it, asked),
            hours(quantiles(it).p50),
            hours(quantiles(it).p95),
            hours(quantiles(it).p99),
            " · ".join(_quantiles(quantiles(it))),
            "plain" if nationwide else _tone(it),
            _code(it, asked),
        )
        for it in shown[:MOST_SHOWN]
    ]
    limit = None if nationwide else hours(asked.late_threshold)
    marks = [("dot plain", tr("time within which half, 95 % and 99 % of the results arrived (left to right)"))]
    if limit:
        marks.append(("limit", tr("late: {late_threshold}", late_threshold=span(asked.late_threshold))))
    note = tr("Slowest laboratories first. The scale is logarithmic.")
    return section(heading, legend(marks), ranges(rows, ticks, limit=limit), _more(shown), note=note)


def _more(shown: Sequence[Timeliness]) -> Html:
    rest = len(shown) - MOST_SHOWN
    return tag("p", tr("{rest} more are in the table below.", rest=rest), class_="note") if rest > 0 else Html()


_SILENT = (Column(english("laboratory")), Column(english("silent since")), Column(english("contact")))


def _silent_row(shown: Timeliness, asked: Asked) -> Sequence[str]:
    return _name(shown, asked), moment(shown.silence_start_time)[:16], shown.lab_contact


_COLUMNS = (
    Column(english("laboratory or region")),
    Column(english("results"), number=True),
    Column(english("late"), number=True),
    Column(english("share"), number=True),
    Column(english("upload p50"), number=True),
    Column("p95", number=True),
    Column("p99", number=True),
    Column(english("nationwide p50"), number=True),
    Column("p95", number=True),
    Column("p99", number=True),
    Column(english("last upload"), number=True),
)


def _row(shown: Timeliness, asked: Asked) -> Sequence[str]:
    code = _code(shown, asked)
    name = tag("span", _name(shown, asked), *((tag("br"), tag("small", code)) if code else ()))
    share: str = f"{late_share(shown):.1%}" if shown.result_count else ""
    return (
        name,
        f"{shown.result_count:,}",
        f"{shown.late_count:,}",
        badge(share, _tone(shown)) if shown.late_count else share,
        *_quantiles(shown.report_to_upload),
        *_quantiles(shown.upload_to_nationwide),
        moment(shown.last_upload_time)[:16] or badge(tr("none"), "warn"),
    )


def _quantiles(delays: DelayQuantiles) -> tuple[str, str, str]:
    if not delays.HasField("p50"):
        return ("", "", "")
    return span(delays.p50), span(delays.p95), span(delays.p99)


def _tone(shown: Timeliness) -> Tone:
    return "bad" if late_share(shown) >= _MANY_LATE else "warn" if shown.late_count else "good"


def _name(shown: Timeliness, asked: Asked) -> str:
    return asked.lab_names.get(subject_of(shown)) or _words(subject_of(shown), asked)


def _code(shown: Timeliness, asked: Asked) -> str:
    """Return the code to show under a laboratory's name; empty if the code is already shown in place of the name."""
    return subject_of(shown) if subject_of(shown) in asked.lab_names else ""


def _words(subject: str, asked: Asked) -> str:
    if subject.startswith("labs/"):
        return asked.lab_names.get(subject) or subject
    return region_words(subject)
