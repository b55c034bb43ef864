"""The draft of a notice: the worst first, each number with its denominator, and nothing without a figure."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.timeliness_pb2 import DelayQuantiles, Timeliness
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1 import refusal_service_pb2 as pb
from hutong_client.cli.notices.draft import draft_notice
from hutong_client.cli.notices.figures import Figures, grouping_below
from hutong_texts import CHINESE, speaking

NOON = Timestamp(seconds=1_660_190_400)
NEXT_NOON = Timestamp(seconds=1_660_190_400 + 86_400)
FOUR_HOURS = Duration(seconds=4 * 3600)


def _row(
    region: str, reports: int, assessed: int, unlawful: int, answered: int, overdue: int, **fields: int
) -> pb.RefusalSummary:
    """Return a row of a summary. `decisions` of `fields` is the number of decisions."""
    decisions = fields.pop("decisions", 0)
    row = pb.RefusalSummary(region=region, **fields)  # type: ignore[arg-type]
    row.total.refusal_count = reports
    row.total.assessed_count = assessed
    row.total.unlawful_count = unlawful
    row.total.answered_count = answered
    row.total.overdue_count = overdue
    if answered < reports:
        row.total.oldest_open_time.CopyFrom(NOON)
    if decisions:
        row.decisions.decision_count = decisions
        row.decisions.refusal_count = reports
        row.rates.refusals_per_decision = reports / decisions
    return row


def _lab(code: str, count: int, late: int, name: str = "", silent: bool = False) -> Timeliness:
    delays = DelayQuantiles(p50=Duration(seconds=60), p95=Duration(seconds=5 * 3600))
    row = Timeliness(
        lab=f"labs/{code}", lab_display_name=name, result_count=count, late_count=late, report_to_upload=delays
    )
    if silent:
        row.silence_start_time.CopyFrom(NOON)
    return row


def _city(region: str, count: int, late: int) -> Timeliness:
    row = _lab("", count, late)
    row.region = region
    return row


def _henan(places: Sequence[pb.RefusalSummary] = (), labs: Sequence[Timeliness] = ()) -> Figures:
    uploads = Timeliness(region="410000", result_count=200, late_count=50, lab_count=3, silent_lab_count=1)
    uploads.report_to_upload.p50.seconds = 60
    uploads.report_to_upload.p95.seconds = 5 * 3600
    return Figures(
        "410000",
        NOON,
        NEXT_NOON,
        FOUR_HOURS,
        whole=_row("410000", 10, 8, 4, 5, 2, decisions=4000),
        places=places,
        venue_kinds=[_row("410000", 9, 8, 4, 5, 2, venue_kind=refusal_pb2.VENUE_KIND_LODGING)],
        decision_start_time=NOON,
        uploads=uploads,
        upload_places=[_city("410100", 150, 45), _city("410300", 50, 5), _city("410500", 9, 0)] if labs else (),
        labs=labs,
    )


PLACES = [
    _row("410300", 2, 2, 1, 2, 0),
    _row("410100", 6, 4, 3, 3, 1),
    _row("410500", 2, 2, 1, 0, 1),
    _row("410600", 0, 0, 0, 0, 0, decisions=9),
]
LABS = [
    _lab("LATE", 100, 10),
    _lab("LATER", 100, 40, "市第一实验室"),
    _lab("SILENT", 0, 0, silent=True),
    _lab("GOOD", 9, 0),
]


def test_a_draft_names_the_worst_first_with_denominators() -> None:
    """A supervisor reads places by their unlawful refusals, and laboratories by their late uploads."""
    assert (
        draft_notice(_henan(PLACES, LABS), NEXT_NOON, 5).text()
        == """\
Notice on the recognition of test results in 河南 Henan
(Draft. Check every figure before it is issued.)

This notice covers the time from 2022-08-11 12:00 to 2022-08-12 12:00 (China time).

1. Reported refusals of valid results
10 refusals were reported. 8 are assessed, and 4 of these (50.0%) were unlawful. \
5 of 10 (50.0%) are answered; 2 answers are overdue. \
The oldest report without an answer was made at 2022-08-11 12:00 and has waited 24 h. \
4,000 decisions were asked for, and 10 refusals were reported in the same time, 2.500 per 1,000 decisions.

2. Places with unlawful refusals
(1) 410100 (河南 Henan): 3 of 4 assessed refusals were unlawful (75.0%).
(2) 410300 (河南 Henan): 1 of 2 assessed refusals were unlawful (50.0%).
(3) 410500 (河南 Henan): 1 of 2 assessed refusals were unlawful (50.0%).

3. Kinds of venue with unlawful refusals
(1) lodging: 4 of 8 assessed refusals were unlawful (50.0%).

4. Places with overdue answers
(1) 410100 (河南 Henan): 1 of 6 answers are overdue. The oldest open report is of 2022-08-11 12:00.
(2) 410500 (河南 Henan): 1 of 2 answers are overdue. The oldest open report is of 2022-08-11 12:00.

5. Places without any answer
(1) 410500 (河南 Henan): none of 2 reports is answered. The oldest is of 2022-08-11 12:00.

6. Uploads of laboratories
50 of 200 uploaded reports (25.0%) came later than 4 h after their issue. \
Half were uploaded within 1 min, and 95 of 100 within 5 h. 1 of 3 registered laboratories are silent now.

7. Places with late uploads
(1) 410100 (河南 Henan): 45 of 150 uploads were late (30.0%); 95 of 100 came within 5 h.
(2) 410300 (河南 Henan): 5 of 50 uploads were late (10.0%); 95 of 100 came within 5 h.

8. Laboratories that uploaded late
(1) 市第一实验室 LATER: 40 of 100 uploads were late (40.0%); 95 of 100 came within 5 h.
(2) LATE: 10 of 100 uploads were late (10.0%); 95 of 100 came within 5 h.

9. Laboratories that are silent
(1) SILENT: the last upload was at 2022-08-11 12:00.

2022-08-12
"""
    )


def test_a_draft_in_chinese() -> None:
    """Laid out as an office does: numbered by 一、 and （一）, with names of places, and the day at the end."""
    with speaking(CHINESE):
        text = draft_notice(_henan(PLACES, LABS), NEXT_NOON, 5).text()
    lines = text.splitlines()
    assert lines[0] == "关于河南省检测结果互认情况的通报"
    assert "　　一、留言反映总体情况" in lines
    assert "　　（一）河南省郑州市：已评定 4 件，其中违规 3 件，占 75.0%。" in lines
    assert "　　（一）宾馆酒店：已评定 8 件，其中违规 4 件，占 50.0%。" in lines
    assert lines[-1] == "2022年8月12日"


def test_nothing_is_said_without_a_figure() -> None:
    """Without reports, decisions and laboratories there is no section; without an assessment no share."""
    empty = draft_notice(Figures("410000", NOON, NEXT_NOON, FOUR_HOURS), NEXT_NOON, 5)
    assert empty.sections == []
    unassessed = Figures("410105", NOON, NEXT_NOON, FOUR_HOURS, whole=_row("410105", 3, 0, 0, 3, 0))
    (section,) = draft_notice(unassessed, NEXT_NOON, 5).sections
    assert section.sentences == ["3 refusals were reported.", "3 of 3 (100.0%) are answered; 0 answers are overdue."]


def test_reports_that_a_node_above_took_over_are_named() -> None:
    """A report that was taken over is not overdue for five days. The place still did not answer in time."""
    places = [_row("410300", 2, 2, 0, 0, 0), _row("410100", 6, 6, 0, 6, 0), _row("410500", 9, 9, 0, 9, 0)]
    places[0].total.escalated_count, places[1].total.escalated_count = 1, 3
    whole = _row("410000", 17, 17, 0, 15, 0)
    whole.total.escalated_count = 4
    figures = Figures("410000", NOON, NEXT_NOON, FOUR_HOURS, whole=whole, places=places)
    overview, taken_over, _ = draft_notice(figures, NEXT_NOON, 5).sections
    assert "4 of 17 (23.5%) were not answered in time, and a node above has taken them over." in overview.sentences
    assert taken_over.items == [
        "410100 (河南 Henan): 3 of 6 reports were not answered in time and taken over (50.0%).",
        "410300 (河南 Henan): 1 of 2 reports were not answered in time and taken over (50.0%).",
    ]


def test_a_list_says_how_many_it_leaves_out() -> None:
    """Two of three places are named."""
    section = draft_notice(_henan(PLACES), NEXT_NOON, 2).sections[1]
    assert (section.sentences, len(section.items)) == (["The 2 worst of 3 are named."], 2)


def test_counting_since_a_later_hour_is_said() -> None:
    """Decisions before an upgrade are not counted, so the rate names its beginning."""
    figures = Figures(
        "410000",
        NOON,
        NEXT_NOON,
        FOUR_HOURS,
        whole=_row("410000", 1, 1, 1, 1, 0, decisions=10),
        decision_start_time=NEXT_NOON,
    )
    assert "Decisions are counted since 2022-08-12 12:00." in draft_notice(figures, NEXT_NOON, 5).text()


@pytest.mark.parametrize(
    ("region", "grouping"),
    [
        ("000000", pb.REFUSAL_GROUPING_PROVINCE),
        ("410000", pb.REFUSAL_GROUPING_CITY),
        ("310000", pb.REFUSAL_GROUPING_DISTRICT),
        ("410100", pb.REFUSAL_GROUPING_DISTRICT),
        ("410105", None),
    ],
)
def test_places_are_one_level_below(region: str, grouping: int | None) -> None:
    """Municipalities have districts and no cities."""
    assert grouping_below(region) == grouping
