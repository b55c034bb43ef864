"""`hutong case`: cases of evidence that officers examine."""

from __future__ import annotations

from collections.abc import Sequence

import click
from hutong.verification.v1 import evidence_case_pb2 as pb
from hutong.verification.v1 import evidence_case_service_pb2 as service
from hutong_texts import english, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.exports.options import Exports, export_options
from hutong_client.cli.exports.sheet import Column, Sheet, time_value
from hutong_client.cli.help import Group, help_text
from hutong_client.cli.options import LAB, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json
from hutong_client.cli.words import Word
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages
from hutong_client.tables.regions import show_region

KIND = Word(pb.EvidenceCaseKind, "EVIDENCE_CASE_KIND_")
STATE = Word(pb.EvidenceCaseState, "EVIDENCE_CASE_STATE_")
FINDING = Word(pb.EvidenceCaseFinding, "EVIDENCE_CASE_FINDING_")
_EXAMPLE = "cases/0190a5e2-7c00-7000-8000-000000000001"
_COLUMNS = (
    english("opened"),
    english("region"),
    english("lab"),
    english("report"),
    english("kind"),
    english("officer"),
    english("finding"),
    english("concluded"),
    english("case"),
)


@click.group(cls=Group)
def case() -> None:
    """List, assign and conclude cases of evidence that officers examine. A case is no reason to refuse anyone."""


@case.command("list", cls=NodeCommand, example="--region 410000 --state open")
@click.option("--region", type=REGION, default="", help="Only in this region and below, GB/T 2260.")
@click.option(
    "--state", "states", type=STATE, multiple=True, help=help_text("Only in one of these states: {words}.", words=STATE)
)
@click.option("--kind", "kinds", type=KIND, multiple=True, help=help_text("Only of these kinds: {words}.", words=KIND))
@click.option(
    "--finding",
    "findings",
    type=FINDING,
    multiple=True,
    help=help_text("Only with one of these findings: {words}.", words=FINDING),
)
@click.option("--lab", type=LAB, help="Only reports of this laboratory.")
@click.option("--officer", default="", help="Only cases of this officer, supervisors/{region}/{id}.")
@export_options
@json_option
@click.pass_obj
def list_cases(
    node: Node,
    region: str,
    states: Sequence[int],
    kinds: Sequence[int],
    findings: Sequence[int],
    lab: str | None,
    officer: str,
    exports: Exports,
    as_json: bool,
) -> ExitCode:
    """List cases, newest first."""
    request = service.ListCasesRequest(
        region=region,
        states=[pb.EvidenceCaseState.ValueType(state) for state in states],
        kinds=[pb.EvidenceCaseKind.ValueType(kind) for kind in kinds],
        findings=[pb.EvidenceCaseFinding.ValueType(finding) for finding in findings],
        lab=lab or "",
        assignee=officer,
    )
    with node.connect() as connection:
        found = [it for page in all_pages(connection.cases.ListCases, request) for it in page.evidence_cases]
    if as_json:
        print_json({"evidence_cases": [as_dict(it) for it in found]})
        return ExitCode.DONE
    rows = [
        (
            time_value(it.create_time),
            show_region(it.region),
            it.lab,
            it.report_number,
            word(pb.EvidenceCaseKind, it.kind, "EVIDENCE_CASE_KIND_"),
            it.assignee,
            word(pb.EvidenceCaseFinding, it.finding, "EVIDENCE_CASE_FINDING_") if it.finding else "",
            time_value(it.conclude_time),
            it.name,
        )
        for it in found
    ]
    sheet = Sheet(tr("cases"), [Column(tr(title)) for title in _COLUMNS], rows)
    if exports:
        exports.write(sheet)
    else:
        sheet.show()
    return ExitCode.DONE


@case.command(cls=NodeCommand, example=_EXAMPLE)
@click.argument("name", metavar="CASE")
@json_option
@click.pass_obj
def get(node: Node, name: str, as_json: bool) -> ExitCode:
    """Show the case CASE, cases/{id}: the report, why it was opened, who examines it, and the finding."""
    with node.connect() as connection:
        found = connection.cases.GetCase(service.GetCaseRequest(name=name), timeout=CALL_SECONDS).evidence_case
    return _show(found, as_json)


@case.command(cls=NodeCommand, example=f"{_EXAMPLE} --officer supervisors/410100/li")
@click.argument("name", metavar="CASE")
@click.option("--officer", default="", help="The officer, supervisors/{region}/{id}.  [default: the caller]")
@json_option
@click.pass_obj
def assign(node: Node, name: str, officer: str, as_json: bool) -> ExitCode:
    """Assign the case CASE, cases/{id}, to an officer."""
    request = service.AssignCaseRequest(name=name, assignee=officer)
    with node.connect() as connection:
        found = connection.cases.AssignCase(request, timeout=CALL_SECONDS).evidence_case
    return _show(found, as_json)


@case.command(cls=NodeCommand, example=f'{_EXAMPLE} forged --note "The time was altered."')
@click.argument("name", metavar="CASE")
@click.argument("finding", type=FINDING, metavar="FINDING")
@click.option("--note", default="", help="What was found, without the identity of a person.")
@json_option
@click.pass_obj
def conclude(node: Node, name: str, finding: int, note: str, as_json: bool) -> ExitCode:
    """Conclude the case CASE, cases/{id}, for good.

    The finding is one of forged, lab-error, clerk-error, not-ours and genuine.
    """
    request = service.ConcludeCaseRequest(name=name, finding=pb.EvidenceCaseFinding.ValueType(finding), note=note)
    with node.connect() as connection:
        found = connection.cases.ConcludeCase(request, timeout=CALL_SECONDS).evidence_case
    return _show(found, as_json)


def _show(found: pb.EvidenceCase, as_json: bool) -> ExitCode:
    if as_json:
        print_json(as_dict(found))
        return ExitCode.DONE
    state = word(pb.EvidenceCaseState, found.state, "EVIDENCE_CASE_STATE_")
    kind = word(pb.EvidenceCaseKind, found.kind, "EVIDENCE_CASE_KIND_")
    lines = [
        tr("{name}: {state}", name=found.name, state=state),
        tr("  Report: {report} of {lab}", report=found.report_number, lab=found.lab),
        tr(
            "  Opened: {time}, {kind}, in {region}",
            time=moment(found.create_time),
            kind=kind,
            region=show_region(found.region),
        ),
        tr("  Decision: {decision}", decision=" ".join(filter(None, (found.decision, found.other_decision)))),
    ]
    if found.differing_fields:
        lines.append(tr("  Differs in: {fields}", fields=", ".join(found.differing_fields)))
    if found.assignee:
        lines.append(tr("  Officer: {officer} since {time}", officer=found.assignee, time=moment(found.assign_time)))
    if found.finding:
        finding = word(pb.EvidenceCaseFinding, found.finding, "EVIDENCE_CASE_FINDING_")
        lines.append(tr("  Finding: {finding}, {time}", finding=finding, time=moment(found.conclude_time)))
    if found.note:
        lines.append(f"  {found.note}")
    echo("\n".join(lines))
    return ExitCode.DONE
