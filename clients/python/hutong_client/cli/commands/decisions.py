"""`hutong decisions get` and `replay`: stored decisions."""

from __future__ import annotations

import click
from hutong.policy.v1.policy_pb2 import EffectivePolicy
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.decision_pb2 import DecisionInputs
from hutong.verification.v1.verification_service_pb2 import (
    GetDecisionRequest,
    ReplayComparison,
    ReplayDecisionRequest,
)
from hutong_texts import english, tr

from hutong_client.cli.case import Metadata, case_option
from hutong_client.cli.commands.verify import policy_titles
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import explain
from hutong_client.cli.help import Group
from hutong_client.cli.options import Node, NodeCommand, json_option
from hutong_client.cli.output import print_json
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import moment, word
from hutong_client.policies.rules import describe_answer
from hutong_client.tables.regions import show_region

_EXAMPLE = "decisions/0190a5e2-7c00-7000-8000-000000000001 --case 2022-0815"
_COMPARISONS = {
    ReplayComparison.REPLAY_COMPARISON_IDENTICAL: english("The replay is identical with the stored decision."),
    ReplayComparison.REPLAY_COMPARISON_DIFFERENT: english("A fault: the replay differs from the stored decision."),
    ReplayComparison.REPLAY_COMPARISON_OTHER_RULES: english("Not compared: other rules made the stored decision."),
}


@click.group(cls=Group)
def decisions() -> None:
    """Show stored decisions with their inputs, and make them again by the present rules."""


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
        click.echo("\n".join(explain(response.decision, policy_titles(connection))))
    for line in _describe_inputs(response.inputs):
        click.echo(f"  {line}")
    return ExitCode.DONE


@decisions.command(cls=NodeCommand, example=_EXAMPLE)
@click.argument("name", metavar="DECISION")
@case_option
@json_option
@click.pass_obj
def replay(node: Node, name: str, metadata: Metadata, as_json: bool) -> ExitCode:
    """Make DECISION, decisions/{uuid7}, again from its stored inputs by the present rules, and compare the two."""
    request = ReplayDecisionRequest(name=name)
    with node.connect() as connection:
        response = connection.verification.ReplayDecision(request, timeout=CALL_SECONDS, metadata=metadata)
        if as_json:
            print_json(response)
            return ExitCode.DONE
        compared = tr(_COMPARISONS.get(response.comparison, "")) or word(
            ReplayComparison, response.comparison, "REPLAY_COMPARISON_"
        )
        click.echo(compared)
        click.echo(
            tr(
                "Rules of the stored decision: {stored_rules_version}, now: {rules_version}",
                stored_rules_version=response.stored_rules_version,
                rules_version=response.rules_version,
            )
        )
        click.echo("\n".join(explain(response.decision, policy_titles(connection))))
    return ExitCode.DONE


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
