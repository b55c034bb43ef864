"""`hutong policy apply`, `diff` and `lint`: publish policies from files and check the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PolicyImpact, PublishPolicyResponse
from hutong.policy.v1.policy_pb2 import FloorOverride
from hutong.type.v1 import purpose_pb2
from hutong_texts import english, escape_controls, list_words, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Command
from hutong_client.cli.options import Node, NodeCommand, json_option
from hutong_client.cli.output import echo, echo_raw, print_json, printable, say
from hutong_client.connection import Connection
from hutong_client.errors import FailedPrecondition, HutongError, InvalidArgument, PermissionDenied
from hutong_client.formatting import as_dict, moment, word
from hutong_client.policies.files import PolicyFile, find_policy_files
from hutong_client.policies.publication import Change, compare, preview, publish
from hutong_client.policies.rules import describe_answer, describe_override
from hutong_client.tables.regions import show_region

_files_option = click.option(
    "-f",
    "--files",
    "path",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="A policy in YAML or JSON, or a directory of such files; read in the order of their names.",
)


@click.command("apply", cls=NodeCommand, example="-f policies --dry-run")
@_files_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Validate everything and publish nothing.")
@json_option
@click.pass_obj
def apply_files(node: Node, path: Path, yes: bool, dry_run: bool, as_json: bool) -> ExitCode:
    """Publish policies from files. Show the changes and ask first; skip files that change nothing.

    Each file is published as a whole or not at all. If a file is refused, its faults are shown, the other files are
    still published, and the exit code is 3.
    """
    files = _without_faults(path)
    with node.connect() as connection:
        changes = [compare(connection, file) for file in files]
        changed = [change for change in changes if not change.unchanged]
        if not as_json:
            _print_preview(connection, changes, changed)
        if changed and not yes and not dry_run:
            click.confirm(
                tr("Publish {count} of {count2} policies?", count=len(changed), count2=len(files)), abort=True, err=True
            )
        outcomes = [_apply(connection, change, dry_run, as_json) for change in changes]
    if as_json:
        print_json({"policies": outcomes})
    return ExitCode.PARTLY if any("error" in item for item in outcomes) else ExitCode.DONE


@click.command("diff", cls=NodeCommand, example="-f policies/hotels.yaml")
@_files_option
@json_option
@click.pass_obj
def diff_files(node: Node, path: Path, as_json: bool) -> ExitCode:
    """Show the changes that `apply` would make."""
    with node.connect() as connection:
        changes = [compare(connection, file) for file in _without_faults(path)]
    if as_json:
        print_json(
            {
                "policies": [
                    {
                        "file": it.file.path.name,
                        "name": it.file.policy.name,
                        "changed": not it.unchanged,
                        "diff": it.diff(),
                    }
                    for it in changes
                ]
            }
        )
    else:
        _print_diffs(changes)
    return ExitCode.DONE


@click.command("lint", cls=Command, example="-f policies")
@_files_option
@json_option
def lint_files(path: Path, as_json: bool) -> ExitCode:
    """Check policy files without calling a service. Exit code 3 means that a file has faults."""
    files = find_policy_files(path)
    if as_json:
        print_json({"policies": [{"file": it.path.name, "faults": list(it.faults)} for it in files]})
    else:
        for file in files:
            for fault in file.faults:
                echo(f"{file.path}: {fault}")
        echo(tr("{count} files, {sum} with faults", count=len(files), sum=sum(bool(it.faults) for it in files)))
    return ExitCode.PARTLY if any(it.faults for it in files) else ExitCode.DONE


def _without_faults(path: Path) -> list[PolicyFile]:
    """Return the files; fail with a usage error if one of them is not a valid policy."""
    files = find_policy_files(path)
    faults = [f"{file.path}: {fault}" for file in files for fault in file.faults]
    if faults:
        raise click.UsageError("\n".join([tr("nothing was published:"), *faults]))
    if not files:
        raise click.UsageError(tr("{path} has no .yaml, .yml or .json file", path=path))
    return files


def _print_preview(connection: Connection, changes: list[Change], changed: list[Change]) -> None:
    _print_diffs(changes)
    for change in changed:
        answer = preview(connection, change.file)
        if isinstance(answer, HutongError):
            echo(
                tr(
                    "{name}: would be refused now, {reason}: {message}",
                    name=change.file.path.name,
                    reason=answer.reason,
                    message=answer.shown_message,
                )
            )
            continue
        for line in describe_impacts(answer.impacts):
            echo(tr("{name} changes {line}", name=change.file.path.name, line=line))
        for restored in answer.restored:
            echo(f"{escape_controls(change.file.path.name)}: {describe_restored(restored)}")
        if answer.impact_count > len(answer.impacts):
            echo(
                tr(
                    "{name} changes {impact_count:,} answers in all",
                    name=change.file.path.name,
                    impact_count=answer.impact_count,
                )
            )


def _print_diffs(changes: list[Change]) -> None:
    colors = {"+": "green", "-": "red", "@": "cyan"}
    for change in changes:
        for line in change.diff():
            echo_raw(click.style(printable(line), fg=colors.get(line[:1])))
    unchanged = sum(change.unchanged for change in changes)
    echo(tr("{value} to publish, {unchanged} unchanged", value=len(changes) - unchanged, unchanged=unchanged))


def describe_impacts(impacts: Sequence[PolicyImpact]) -> list[str]:
    """Describe the answers that change: one line for each region, origin and pair of policies, with all purposes."""
    purposes: dict[tuple[str, str, str, str], list[str]] = {}
    for impact in impacts:
        origin = word(policy_pb2.TravelerOrigin, impact.origin, "TRAVELER_ORIGIN_")
        before, after = (describe_answer(it) for it in (impact.before, impact.after))
        purpose = word(purpose_pb2.Purpose, impact.purpose, "PURPOSE_")
        purposes.setdefault((impact.region, origin, before, after), []).append(purpose)
    return [
        tr(
            "{region}, from {origin}: {before} → {after} for {found}",
            region=show_region(region),
            origin=origin,
            before=before,
            after=after,
            found=list_words(found),
        )
        for (region, origin, before, after), found in purposes.items()
    ]


def _apply(connection: Connection, change: Change, dry_run: bool, as_json: bool) -> dict[str, Any]:
    """Publish one file and return the outcome for --json."""
    outcome: dict[str, Any] = {"file": change.file.path.name, "name": change.file.policy.name}
    if change.unchanged and change.before:
        return outcome | {"action": "unchanged", "policy": as_dict(change.before)}
    try:
        response = publish(connection, change.file, validate_only=dry_run)
    except (FailedPrecondition, InvalidArgument, PermissionDenied) as error:
        if not as_json:
            say(
                tr(
                    "{name}: refused, {reason}: {message}",
                    name=change.file.path.name,
                    reason=error.reason,
                    message=error.shown_message,
                )
            )
            for breach in _breaches(error):
                say(f"  {breach}")
        return outcome | {"action": "refused", "error": {"reason": error.reason, "breaches": _breaches(error)}}
    action = english("would be published") if dry_run else english("published")
    if response.HasField("pending_change"):
        action = english("waits for a second approver")
        if not as_json:
            say(
                tr(
                    "{name}: {action}: hutong pending approve {name2}",
                    name=change.file.policy.name,
                    action=tr(action),
                    name2=response.pending_change.name,
                )
            )
        return outcome | {"action": action, **as_dict(response)}
    if not as_json:
        echo(f"{response.policy.name}: {tr(action)}, {tr(response.policy.title)}")
        _print_overrides(response)
    return outcome | {"action": action, **as_dict(response)}


def _print_overrides(response: PublishPolicyResponse) -> None:
    """Print what floors override in lower policies, and what floors override no longer, each with its start time."""
    for it in response.overrides:
        is_floor = it.floor == response.policy.name
        which = (
            tr("overrides {policy}", policy=it.policy) if is_floor else tr("is overridden by {floor}", floor=it.floor)
        )
        echo(
            tr(
                "  {which}: {it} from {start_time}",
                which=which,
                it=describe_override(it),
                start_time=moment(it.start_time),
            )
        )
    if response.override_count > len(response.overrides):
        echo(tr("  {override_count:,} overrides in all", override_count=response.override_count))
    for it in response.restored:
        echo(f"  {describe_restored(it)}")
    if response.restored_count > len(response.restored):
        echo(tr("  {restored_count:,} overrides end in all", restored_count=response.restored_count))


def describe_restored(it: FloorOverride) -> str:
    """Describe in one line what a floor no longer overrides, and from when."""
    return tr(
        "{floor} overrides {policy} no longer from {start_time}: {it}",
        floor=it.floor,
        policy=it.policy,
        start_time=moment(it.start_time),
        it=describe_override(it),
    )


def _breaches(error: HutongError) -> list[str]:
    return [
        *(f"{it.subject}: {it.description}" for it in error.preconditions),
        *(f"{it.field}: {it.description}" for it in error.field_violations),
    ]
