"""Sections of the page of refusals: kinds of venue, refusals per decision, and answers that are owed."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1.refusal_service_pb2 import RefusalSummary
from hutong_texts import english, tr

from hutong_client.cli.pages.charts import Bar, bars
from hutong_client.cli.pages.frame import Column, badge, section, table
from hutong_client.cli.pages.html import Html
from hutong_client.cli.provinces import region_words
from hutong_client.formatting import moment, word

_OWED = (
    Column(english("region")),
    Column(english("open"), number=True),
    Column(english("overdue"), number=True),
    Column(english("taken over"), number=True),
    Column(english("oldest open")),
    Column(english("last answer")),
)


def venue_kinds(rows: Sequence[RefusalSummary]) -> Html:
    """Draw the reports by kind of venue."""
    shown = [
        Bar(
            word(refusal_pb2.VenueKind, row.venue_kind, "VENUE_KIND_") if row.venue_kind else tr("not stated"),
            row.total.refusal_count,
            tr(
                "{unlawful:,} of {assessed:,} assessed are unlawful",
                unlawful=row.total.unlawful_count,
                assessed=row.total.assessed_count,
            ),
            part=row.total.unlawful_count,
            tone="bad",
        )
        for row in sorted(rows, key=lambda row: -row.total.refusal_count)
        if row.total.refusal_count
    ]
    return section(tr("By kind of venue"), bars(shown), note=tr("Most reports first.")) if shown else Html()


def per_decisions(rows: Sequence[RefusalSummary]) -> Html:
    """Draw refusals per decision of each province, the highest rate first."""
    rated = [row for row in rows if row.rates.HasField("refusals_per_decision")]
    rated.sort(key=lambda row: (-row.rates.refusals_per_decision, row.region))
    shown = [
        Bar(
            region_words(row.region),
            round(1000 * row.rates.refusals_per_decision, 3),
            tr("{rate:.3f} per 1,000 decisions", rate=1000 * row.rates.refusals_per_decision),
            detail=tr(
                "{refusals:,} reports, {decisions:,} decisions",
                refusals=row.decisions.refusal_count,
                decisions=row.decisions.decision_count,
            ),
        )
        for row in rated
    ]
    note = tr("Reported refusals beside the decisions that were asked for in the same hours. Highest rate first.")
    return section(tr("Refusals per decision"), bars(shown), note=note) if shown else Html()


def owed_answers(rows: Sequence[RefusalSummary]) -> Html:
    """List the jurisdictions that owe answers, the oldest open report first."""
    owing = [row for row in rows if row.total.HasField("oldest_open_time")]
    owing.sort(key=lambda row: (row.total.oldest_open_time.ToNanoseconds(), row.region))
    lines = [
        (
            region_words(row.region),
            f"{row.total.open_count:,}",
            badge(f"{row.total.overdue_count:,}", "bad") if row.total.overdue_count else "0",
            badge(f"{row.total.escalated_count:,}", "warn") if row.total.escalated_count else "0",
            moment(row.total.oldest_open_time),
            moment(row.total.last_answer_time) or tr("never"),
        )
        for row in owing
    ]
    return section(tr("Answers owed"), table(_OWED, lines), note=tr("Oldest open report first.")) if lines else Html()
