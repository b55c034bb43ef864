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

from hutong_client.cli.case import Metadata, case_option
from hutong_client.cli.commands.verify import policy_titles
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import explain
from hutong_client.cli.options import Node, NodeCommand, json_option
from hutong_client.cli.output import print_json
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import moment, word
from hutong_client.policies.rules import describe_answer

_EXAMPLE = "decisions/0190a5e2-7c00-7000-8000-000000000001 --case 2022-0815"
_COMPARISONS = {
    ReplayComparison.REPLAY_COMPARISON_IDENTICAL: "The replay is identical with the stored decision.",
    ReplayComparison.REPLAY_COMPARISON_DIFFERENT: "A fault: the replay differs from the stored decision.",
    ReplayComparison.REPLAY_COMPARISON_OTHER_RULES: "Not compared: other rules made the stored decision.",
}


@click.group()
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
        compared = _COMPARISONS.get(response.comparison) or word(
            ReplayComparison, response.comparison, "REPLAY_COMPARISON_"
        )
        click.echo(compared)
        click.echo(f"Rules of the stored decision: {response.stored_rules_version}, now: {response.rules_version}")
        click.echo("\n".join(explain(response.decision, policy_titles(connection))))
    return code


def _describe_inputs(inputs: DecisionInputs) -> list[str]:
    """Describe what was asked and what was known."""
    purpose = word(Purpose, inputs.purpose, "PURPOSE_")
    lines = [f"Asked: in {inputs.region} for {purpose}, answered {moment(inputs.evaluate_time)}"]
    answers: list[EffectivePolicy] = []
    if inputs.HasField("by_origin"):
        answers = [inputs.by_origin.same_province, inputs.by_origin.other_province]
    elif inputs.HasField("effective_policy"):
        answers = [inputs.effective_policy]
    lines += [f"Applied: {describe_answer(it)}" for it in answers]
    lines.append(f"Known: {len(inputs.records)} records; shown: {len(inputs.evidence)} pieces of evidence")
    return lines
