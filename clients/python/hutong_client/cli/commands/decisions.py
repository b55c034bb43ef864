"""`hutong decisions get`, `replay` and `flags`: stored decisions, and evidence that ought to be examined."""

from __future__ import annotations

from collections.abc import Sequence

import click
from hutong.policy.v1.policy_pb2 import EffectivePolicy
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.decision_pb2 import DecisionInputs
from hutong.verification.v1.evidence_flag_pb2 import EvidenceFlag, EvidenceFlagKind
from hutong.verification.v1.evidence_flag_service_pb2 import ListEvidenceFlagsRequest
from hutong.verification.v1.verification_service_pb2 import (
    GetDecisionRequest,
    ReplayComparison,
    ReplayDecisionRequest,
)
from hutong_texts import english, list_words, tr

from hutong_client.cli.case import Metadata, case_option
from hutong_client.cli.commands.verify import policy_titles
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import explain
from hutong_client.cli.help import Group, help_text
from hutong_client.cli.options import LAB, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.cli.words import Word
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages
from hutong_client.policies.rules import describe_answer
from hutong_client.tables.regions import show_region

KIND = Word(EvidenceFlagKind, "EVIDENCE_FLAG_KIND_")
_EXAMPLE = "decisions/0190a5e2-7c00-7000-8000-000000000001 --case 2022-0815"
_FLAG_COLUMNS = (
    english("shown"),
    english("region"),
    english("lab"),
    english("report"),
    english("flags"),
    english("decision"),
    english("other decision"),
)
_COMPARISONS = {
    ReplayComparison.REPLAY_COMPARISON_IDENTICAL: english("The replay is identical with the stored decision."),
    ReplayComparison.REPLAY_COMPARISON_DIFFERENT: english("A fault: the replay differs from the stored decision."),
    ReplayComparison.REPLAY_COMPARISON_OTHER_RULES: english("Not compared: other rules made the stored decision."),
}


@click.group(cls=Group)
def decisions() -> None:
    """Show stored decisions with their inputs, make them again by the present rules, and list flagged evidence."""


@decisions.command(cls=NodeCommand, example=_EXAMPLE)
@click.argument("name", metavar="DECISION")
@case_option
@json_option
@click.pass_obj
def get(node: Node, name: str, metadata: Metadata, as_json: bool) -> ExitCode:
    """Explain DECISION, decisions/{uuid7}, and show what was asked and known. --json shows the inputs in full."""
    request = GetDecisionRequest(name=name)
    with node.connect() as connection:
        response = connection.verification.GetDecision(request, timeout=CALL_SECONDS, metadata=metadata)
        if as_json:
            print_json(response)
            return ExitCode.DONE
        echo("\n".join(explain(response.decision, policy_titles(connection))))
    for line in _describe_inputs(response.inputs):
        echo(f"  {line}")
    for flag in response.evidence_flags:
        echo(tr("  flagged: {report}: {kinds}", report=flag.report_number or flag.lab, kinds=_kinds(flag)))
    return ExitCode.DONE


@decisions.command(cls=NodeCommand, example=_EXAMPLE)
@click.argument("name", metavar="DECISION")
@case_option
@json_option
@click.pass_obj
def replay(node: Node, name: str, metadata: Metadata, as_json: bool) -> ExitCode:
    """Make DECISION, decisions/{uuid7}, again from its stored inputs by the present rules, and compare the two.

    The exit code is 8 if they differ although the same rules made the stored decision.
    """
    request = ReplayDecisionRequest(name=name)
    with node.connect() as connection:
        response = connection.verification.ReplayDecision(request, timeout=CALL_SECONDS, metadata=metadata)
        is_different = response.comparison == ReplayComparison.REPLAY_COMPARISON_DIFFERENT
        code = ExitCode.DIFFERENT if is_different else ExitCode.DONE
        if as_json:
            print_json(response)
            return code
        compared = tr(_COMPARISONS.get(response.comparison, "")) or word(
            ReplayComparison, response.comparison, "REPLAY_COMPARISON_"
        )
        echo(compared)
        echo(
            tr(
                "Rules of the stored decision: {stored_rules_version}, now: {rules_version}",
                stored_rules_version=response.stored_rules_version,
                rules_version=response.rules_version,
            )
        )
        echo("\n".join(explain(response.decision, policy_titles(connection))))
    return code


@decisions.command(cls=NodeCommand, example="--region 410000 --kind other-person")
@click.option(
    "--region", type=REGION, default="", help="Only shown in this region and below, GB/T 2260. A county has none."
)
@click.option(
    "--kind", "kinds", type=KIND, multiple=True, help=help_text("Only with one of these flags: {words}.", words=KIND)
)
@click.option("--lab", type=LAB, help="Only reports of this laboratory.")
@json_option
@click.pass_obj
def flags(node: Node, region: str, kinds: Sequence[int], lab: str | None, as_json: bool) -> ExitCode:
    """List reports shown as evidence that ought to be examined, newest first. A flag is no reason to refuse anyone."""
    request = ListEvidenceFlagsRequest(
        region=region, lab=lab or "", kinds=[EvidenceFlagKind.ValueType(kind) for kind in kinds]
    )
    with node.connect() as connection:
        pages = all_pages(connection.evidence_flags.ListEvidenceFlags, request)
        found = [flag for page in pages for flag in page.evidence_flags]
    if as_json:
        print_json({"evidence_flags": [as_dict(flag) for flag in found]})
        return ExitCode.DONE
    rows = [
        (
            flag.show_date,
            show_region(flag.region),
            flag.lab,
            flag.report_number,
            _kinds(flag),
            flag.decision,
            flag.other_decision,
        )
        for flag in found
    ]
    print_table([*map(tr, _FLAG_COLUMNS)], rows)
    return ExitCode.DONE


def _kinds(flag: EvidenceFlag) -> str:
    return list_words(word(EvidenceFlagKind, kind, "EVIDENCE_FLAG_KIND_") for kind in flag.kinds)


def _describe_inputs(inputs: DecisionInputs) -> list[str]:
    """Describe what was asked and what was known."""
    purpose = word(Purpose, inputs.purpose, "PURPOSE_")
    lines = [
        tr(
            "Asked: in {region} for {purpose}, answered {evaluate_time}",
            region=show_region(inputs.region),
            purpose=purpose,
            evaluate_time=moment(inputs.evaluate_time),
        )
    ]
    answers: list[EffectivePolicy] = []
    if inputs.HasField("by_origin"):
        answers = [inputs.by_origin.same_province, inputs.by_origin.other_province]
    elif inputs.HasField("effective_policy"):
        answers = [inputs.effective_policy]
    lines += [tr("Applied: {it}", it=describe_answer(it)) for it in answers]
    lines.append(
        tr(
            "Known: {count} records; shown: {count2} pieces of evidence",
            count=len(inputs.records),
            count2=len(inputs.evidence),
        )
    )
    return lines
