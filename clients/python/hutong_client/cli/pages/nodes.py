"""Page of `hutong nodes --html`: how far behind nodes are, who is silent, and what was not accepted."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.exchange.v1.node_pb2 import Node, SetAsideReason
from hutong.results.v1 import lookup_pb2
from hutong_texts import english, list_words, tr

from hutong_client.cli.pages.charts import Bar, bars
from hutong_client.cli.pages.frame import Column, Figure, Tone, badge, figures, page, section, table
from hutong_client.cli.pages.html import Html, tag
from hutong_client.cli.provinces import region_words
from hutong_client.formatting import moment, span, word

MOST_SHOWN = 30
"""The most rows of a chart, so that the chart stays readable. The table has all nodes."""
_SKEW_SECONDS = 60.0
"""A clock that differs by more than this is marked. A report that is issued up to a minute ahead of a node's clock
still counts (VerifyRequest.use_time)."""
_COLUMNS = (
    Column(english("node")),
    Column(english("through")),
    Column(english("state")),
    Column(english("as of"), number=True),
    Column(english("lag"), number=True),
    Column(english("backlog"), number=True),
    Column(english("clock ahead, s"), number=True),
    Column(english("conflicts"), number=True),
    Column(english("set aside")),
)
_SILENT = (Column(english("node")), Column(english("silent since")), Column(english("through")))
_RETIRED = (Column(english("node")), Column(english("retired")), Column(english("reason")))


def nodes_page(found: Sequence[Node], asked_time: Timestamp) -> str:
    """Return the page as HTML.

    Args:
        found: the nodes that the service lists.
        asked_time: when the service was asked.
    """
    silent = sorted(
        (it for it in found if it.HasField("silence_start_time")), key=lambda it: it.silence_start_time.ToMicroseconds()
    )
    retired = [it for it in found if it.state == lookup_pb2.SOURCE_STATE_RETIRED]
    serving = [it for it in found if it.state != lookup_pb2.SOURCE_STATE_RETIRED]
    parts = [figures(_figures(serving, silent, retired))]
    if silent:
        rows = [(_name(it), moment(it.silence_start_time), _through(it)) for it in silent]
        note = tr("Nothing came from these nodes for a minute or longer, the longest silence first.")
        parts.append(section(tr("Silent nodes"), table(_SILENT, rows), note=note))
    behind = sorted((it for it in serving if it.HasField("lag")), key=lambda it: (-_seconds(it), it.name))
    if any(_seconds(it) for it in behind):
        shown = [Bar(_words(it), _seconds(it), span(it.lag), tone=_tone(it), detail=it.name) for it in behind]
        note = tr("What a node has acknowledged in this time may be unknown here. The longest lag first.")
        parts.append(section(tr("Lag"), bars(shown[:MOST_SHOWN]), note=note))
    waiting = sorted((it for it in serving if it.backlog), key=lambda it: (-it.backlog, it.name))
    if waiting:
        shown = [Bar(_words(it), it.backlog, f"{it.backlog:,}", tone=_tone(it), detail=it.name) for it in waiting]
        note = tr("Commits that a node had not sent at its last contact.")
        parts.append(section(tr("Backlog"), bars(shown[:MOST_SHOWN]), note=note))
    if retired:
        rows = [
            (_name(it), moment(it.retire_time) if it.HasField("retire_time") else "", it.retire_reason)
            for it in retired
        ]
        parts.append(section(tr("Retired nodes"), table(_RETIRED, rows)))
    parts.append(section(tr("All nodes"), table(_COLUMNS, [_row(it) for it in found])))
    return page(tr("Nodes"), parts, subtitle=tr("As of {time} (China time)", time=moment(asked_time)))


def _figures(serving: Sequence[Node], silent: Sequence[Node], retired: Sequence[Node]) -> list[Figure]:
    unavailable = [it for it in serving if it.state == lookup_pb2.SOURCE_STATE_UNAVAILABLE]
    conflicts = sum(it.conflict_count for it in serving)
    set_aside = sum(aside.count for it in serving for aside in it.set_aside)
    return [
        Figure(f"{len(serving):,}", tr("nodes")),
        Figure(f"{len(unavailable):,}", tr("unavailable"), "bad" if unavailable else "good"),
        Figure(f"{len(silent):,}", tr("silent"), "bad" if silent else "good"),
        Figure(f"{len(retired):,}", tr("retired")),
        Figure(f"{sum(it.backlog for it in serving):,}", tr("commits not sent yet")),
        Figure(f"{conflicts:,}", tr("conflicts"), "warn" if conflicts else "good"),
        Figure(f"{set_aside:,}", tr("set aside"), "warn" if set_aside else "good"),
    ]


def _row(it: Node) -> Sequence[str]:
    is_known = it.HasField("clock_skew")
    skew = it.clock_skew.ToTimedelta().total_seconds()
    return (
        _name(it),
        _through(it),
        badge(word(lookup_pb2.SourceState, it.state, "SOURCE_STATE_"), _tone(it)),
        moment(it.as_of_time),
        span(it.lag) if it.HasField("lag") else "",
        f"{it.backlog:,}",
        (badge(f"{skew:.3f}", "warn") if abs(skew) > _SKEW_SECONDS else f"{skew:.3f}") if is_known else "",
        (badge(f"{it.conflict_count:,}", "warn") if it.conflict_count else "0") if is_known else "",
        list_words(
            f"{aside.count:,} {word(SetAsideReason, aside.reason, 'SET_ASIDE_REASON_')}" for aside in it.set_aside
        ),
    )


def _tone(it: Node) -> Tone:
    if it.state == lookup_pb2.SOURCE_STATE_RETIRED:
        return "plain"
    return "good" if it.state == lookup_pb2.SOURCE_STATE_OK else "bad"


def _seconds(it: Node) -> int:
    return it.lag.seconds


def _through(it: Node) -> str:
    return " / ".join(it.path) or it.relaying_node


def _words(it: Node) -> str:
    return region_words(it.name.removeprefix("nodes/"))


def _name(it: Node) -> Html:
    return tag("span", _words(it), tag("br"), tag("small", it.name))
