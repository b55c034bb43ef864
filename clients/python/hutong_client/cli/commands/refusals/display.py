"""A reported refusal as `hutong refusal` prints it."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import refusal_pb2
from hutong_texts import list_words, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.exports.sheet import Column, Sheet, time_value
from hutong_client.cli.output import echo, print_json
from hutong_client.formatting import moment, word
from hutong_client.tables.regions import show_region

_TABLE_CHARACTERS = 60
"""The longest text in a table. Words and answers have up to 2,000 characters."""


def show_refusal(shown: refusal_pb2.Refusal, as_json: bool) -> ExitCode:
    """Print a report."""
    if as_json:
        print_json(shown)
        return ExitCode.DONE
    echo(f"{shown.name}: {assessment_of(shown)}")
    purpose = word(purpose_pb2.Purpose, shown.purpose, "PURPOSE_")
    echo(
        tr(
            "  Refused {refuse_time} in {place}, for {purpose}",
            refuse_time=moment(shown.refuse_time),
            place=f"{show_region(shown.region)} {shown.venue}".rstrip(),
            purpose=purpose,
        )
    )
    echo(tr("  Grounds: {grounds}", grounds=list_grounds(shown.grounds)))
    if shown.statement:
        echo(tr("  The person's words: {statement}", statement=shown.statement))
    if shown.forbidden_grounds:
        echo(tr("  Forbidden there: {forbidden_grounds}", forbidden_grounds=list_grounds(shown.forbidden_grounds)))
    if shown.decision:
        echo(tr("  Decision: {decision}", decision=shown.decision))
    if shown.duplicate_of:
        echo(tr("  The same refusal was reported before: {name}", name=shown.duplicate_of))
    if not shown.answer and shown.HasField("due_time"):
        answers = tr(
            "  {state}; answered by {node} until {due_time}",
            state=state_of(shown),
            node=_answering(shown),
            due_time=moment(shown.due_time),
        )
        echo(answers)
    if shown.answer:
        echo(tr("  Answered {answer_time}: {answer}", answer_time=moment(shown.answer_time), answer=shown.answer))
    return ExitCode.DONE


def refusal_sheet(found: Sequence[refusal_pb2.Refusal], *, shorten: bool) -> Sheet:
    """Return the table of reports. With `shorten`, words and answers are cut to a table's width."""
    cut = shortened if shorten else str
    columns = (
        tr("when"),
        tr("region"),
        tr("venue"),
        tr("kind of venue"),
        tr("purpose"),
        tr("grounds"),
        tr("words"),
        tr("assessment"),
        tr("state"),
        tr("answer"),
        tr("answered by"),
        tr("due"),
        tr("taken over"),
        tr("refusal"),
    )
    rows = [
        (
            time_value(it.refuse_time),
            show_region(it.region),
            it.venue,
            word(refusal_pb2.VenueKind, it.venue_kind, "VENUE_KIND_") if it.venue_kind else "",
            word(purpose_pb2.Purpose, it.purpose, "PURPOSE_"),
            list_grounds(it.grounds),
            cut(it.statement),
            assessment_of(it),
            state_of(it),
            cut(it.answer),
            it.answer_node or it.responsible_node,
            time_value(it.due_time),
            it.escalation_count,
            it.name,
        )
        for it in found
    ]
    return Sheet(tr("refusals"), [Column(title) for title in columns], rows)


def state_of(shown: refusal_pb2.Refusal) -> str:
    """Return the state of a report in words, or that its answer is overdue."""
    return tr("overdue") if shown.overdue else word(refusal_pb2.RefusalState, shown.state, "REFUSAL_STATE_")


def _answering(shown: refusal_pb2.Refusal) -> str:
    """Return the node that answers a report, or in words that no node of the place has it yet."""
    return shown.responsible_node or tr("the node of the place (receipt not yet confirmed)")


def shortened(text: str) -> str:
    """Return the text on one line, cut to a table's width."""
    line = " ".join(text.split())
    return line if len(line) <= _TABLE_CHARACTERS else line[: _TABLE_CHARACTERS - 1] + "…"


def assessment_of(shown: refusal_pb2.Refusal) -> str:
    """Return the assessment of a report in words, or that it is pending."""
    if not shown.assessment:
        return word(refusal_pb2.RefusalState, refusal_pb2.REFUSAL_STATE_PENDING, "REFUSAL_STATE_")
    return word(refusal_pb2.RefusalAssessment, shown.assessment, "REFUSAL_ASSESSMENT_")


def list_grounds(grounds: Sequence[int]) -> str:
    """Return grounds in words."""
    return list_words(word(refusal_ground_pb2.RefusalGround, it, "REFUSAL_GROUND_") for it in grounds)
