"""Demonstrate Hutong from an empty disk to decisions for travellers.

The demonstration starts the three services, registers laboratories, publishes the policies of 2022, uploads one
laboratory's day and asks for decisions. It compares every decision with the story and exits with 1 if one differs.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from hutong.policy.v1 import policy_service_pb2
from hutong.results.v1 import lab_service_pb2
from hutong_client.cli.explanation import describe_next_step, explain, explain_origin
from hutong_client.connection import DEFAULT_ADDRESSES, Connection, connect
from hutong_client.errors import HutongError
from hutong_client.tables.rejected.wording import name_reason
from hutong_texts import ENGLISH, current_language, english, list_words, speaking, tr
from hutong_texts.language import find_language

from clients.examples.day import LAB
from clients.examples.faults import DUPLICATE
from clients.examples.generate_day import PEOPLE, WRONG
from clients.examples.node import Node, NotServing, running_node
from clients.examples.stage import CALL_SECONDS, PATIENT, StoryDiffers, announce, run_hutong
from clients.examples.story import LABS, build_scenes

EXAMPLES = Path(__file__).parent
DAY = EXAMPLES / "lab-day.csv"
POLICIES = EXAMPLES / "policies"
_CHINA = timezone(timedelta(hours=8))
# The hutong command's exit code when rows were rejected.
_PARTLY = 3
# An invented policy that accepts antigen too. The sample policies of 2022 accept nucleic acid alone.
_EXAMPLE_POLICY = """
name: jurisdictions/450400/policies/example-care-home
title: 示例：养老院，48小时核酸或24小时抗原
source: {title: 示例文件，仅供演示}
purposes: [PURPOSE_CARE_HOME]
test_required:
  window: {duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}
  refusal_permitted: true
  accepted:
    - item: items/sars-cov-2-nucleic-acid
    - item: items/sars-cov-2-antigen
      window: {duration: 86400s, basis: VALIDITY_BASIS_REPORT_TIME}
effective_start_time: "2022-12-08T00:00:00+08:00"
retroactive_reason: a demonstration
"""
_INVITATION = english("""
The node keeps running until Ctrl-C. In another terminal, with .venv/bin on the PATH:

  hutong lookup --number {number}
  hutong verify --number {number} --region 410105 --purpose hotel \\
    --arriving-from 220500 --use-time "2022-08-10 12:00:00+08:00"
  hutong policy resolve --region 310104 --purpose city-transport --effective-time "2022-08-04 23:59:59+08:00"
  grpcurl -plaintext {results} list
  sh clients/examples/grpcurl/11-create-lab.sh   # and the others, in the order of their numbers
""")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return its exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--stay",
        action="store_true",
        help="keep the node running until Ctrl-C, on the default ports, with data in .hutong/",
    )
    stay = parser.parse_args(arguments).stay
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with speaking(find_language(os.environ)), ExitStack() as stack:
        where = Path(".hutong") if stay else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hutong-")))
        started = time.monotonic()
        try:
            print(
                tr("Hutong: one laboratory's day, from an empty disk to decisions. Data in {where}.", where=where),
                flush=True,
            )
            node = stack.enter_context(running_node(where, _stay_addresses() if stay else None, variables=PATIENT))
            play(node, where)
            print(
                tr("\nAll answers are as expected, after {seconds:.0f} s.", seconds=time.monotonic() - started),
                flush=True,
            )
            if stay:
                print(_invite(node), flush=True)
                signal.pause()
        except (StoryDiffers, NotServing, HutongError) as failure:
            print(tr("\nNot as expected: {failure}", failure=failure), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(tr("\nStopping."), flush=True)
    return 0


def play(node: Node, where: Path) -> None:
    """Register laboratories, publish policies, upload the day and ask for decisions.

    Raises:
        StoryDiffers: an answer differs; the text lists all differences.
    """
    announce(
        tr(
            "Three services are running: {services}",
            services=list_words(
                (tr("{name} at {address}", name=name, address=address) for name, address in node.addresses.items())
            ),
        )
    )
    with connect(environment=node.environment) as connection:
        _register_labs(connection)
        _publish_policies(node, where)
        _upload_day(node, where)
        _ask_for_decisions(connection)


def _stay_addresses() -> dict[str, str]:
    """Return the addresses from the environment, or the default ones."""
    return {
        service: os.environ.get(f"HUTONG_{service.upper()}_ADDRESS") or default
        for service, default in DEFAULT_ADDRESSES.items()
    }


def _register_labs(connection: Connection) -> None:
    for lab in LABS:
        connection.labs.CreateLab(lab_service_pb2.CreateLabRequest(lab=lab), timeout=CALL_SECONDS)
    announce(tr("Laboratories registered: {labs}", labs=list_words(f"{lab.display_name} ({lab.name})" for lab in LABS)))


def _publish_policies(node: Node, where: Path) -> None:
    announce(tr("The policies of 2022: hutong policy apply -f {policies}", policies=os.path.relpath(POLICIES)))
    _apply(node, POLICIES)
    example = where / "example-care-home.yaml"
    example.write_text(_EXAMPLE_POLICY, encoding="utf-8")
    announce(tr("A policy that is made up: hutong policy apply -f {example}", example=example))
    _apply(node, example)


def _apply(node: Node, policies: Path) -> None:
    """Publish policies. Print each policy with what floors replace in it."""
    for item in run_hutong(node, "policy", "apply", "-f", str(policies), "--yes")["policies"]:
        policy = item["policy"]
        start = datetime.fromisoformat(policy["effective_start_time"]).astimezone(_CHINA)
        print(
            tr(
                "  {action}, from {start:%Y-%m-%d}  {title}",
                action=tr(item["action"]),
                start=start,
                title=tr(policy["title"]),
            ),
            flush=True,
        )
        lifted = 0
        for override in item.get("overrides", ()):
            lifted += "lift" in override
            if "basis" in override:
                print(
                    tr(
                        "    {floor} sets the basis of {policy}",
                        floor=override["floor"],
                        policy=override["policy"],
                    ),
                    flush=True,
                )
        if lifted:
            print(tr("    lifts what {lifted} policies ask for", lifted=lifted), flush=True)


def _upload_day(node: Node, where: Path) -> None:
    # The file is copied, because the command writes its journal and the rejected rows beside the file.
    day = Path(shutil.copy(DAY, where))
    announce(
        tr(
            "The laboratory's day, {rows} rows of which {wrong} are wrong: hutong upload {day} --lab {lab}",
            rows=PEOPLE + WRONG,
            wrong=WRONG,
            day=day,
            lab=LAB,
        )
    )
    answer = run_hutong(node, "upload", str(day), "--lab", LAB, exit_code=_PARTLY)
    counted = {key: answer[key] for key in ("accepted", "duplicates", "rejected")}
    print("  " + tr("accepted {accepted}, duplicates {duplicates}, rejected {rejected}", **counted))
    examples = _first_rejected(Path(answer["rejects_file"]))
    for reason, rows in answer["rejected_by_reason"].items():
        print(
            tr("  {rows:5} {reason}, as in {example}", rows=rows, reason=show_reason(reason), example=examples[reason]),
            flush=True,
        )
    with DAY.with_suffix(".wrong.csv").open(encoding="utf-8", newline="") as file:
        expected = Counter(row["expected"] for row in csv.DictReader(file))
    duplicates = expected.pop(DUPLICATE)
    # On a node that was started before, all rows that were accepted the first time are duplicates.
    if answer["accepted"] + answer["duplicates"] != PEOPLE + duplicates or answer["rejected_by_reason"] != expected:
        raise StoryDiffers(
            tr(
                "the upload should accept {people}, find {duplicates} duplicates and reject {expected}",
                people=PEOPLE,
                duplicates=duplicates,
                expected=dict(expected),
            )
        )


def show_reason(reason: str) -> str:
    """Format a reason for people: its name in the contract, and in Chinese also its words."""
    return reason if current_language() == ENGLISH else f"{name_reason(reason)}（{reason}）"


def _first_rejected(rejects: Path) -> dict[str, str]:
    """Return, for each reason, the command's description of the first row that was rejected for this reason alone."""
    found: dict[str, str] = {}
    with rejects.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(
                row["reasons"],
                tr(
                    "row {row}, {fields}: {descriptions}",
                    row=row["row"],
                    fields=row["fields"],
                    descriptions=row["descriptions"],
                ),
            )
    return found


def _ask_for_decisions(connection: Connection) -> None:
    """Print the first decision in full, and the outcome, reason, policy and next steps of the others.

    An unknown origin is mentioned. Whether records and evidence were used is printed where the story expects a certain
    use.
    """

    @cache
    def title_of(name: str) -> str:
        request = policy_service_pb2.GetPolicyRequest(name=name)
        return f"“{tr(connection.policies.GetPolicy(request, timeout=CALL_SECONDS).policy.title)}”"

    announce(tr("Travellers. The first decision in full, as `hutong verify` shows it:"))
    differences = []
    for number, scene in enumerate(build_scenes(DAY), start=1):
        decision = connection.verification.Verify(scene.request, timeout=CALL_SECONDS).decision
        lines = explain(decision, title_of)
        if number > 1:
            floor = [
                line
                for line in lines
                if line.startswith(f"  {tr('Floor')}:") and scene.expected.floor and line not in lines[:3]
            ]
            weighed = [line for line in lines if line.startswith("    ") and scene.expected.use]
            origin = [line for line in lines if line == explain_origin(decision)]
            lines = [
                *lines[:3],
                *origin,
                *floor,
                *weighed,
                *(tr("  To do: {item}", item=describe_next_step(item)) for item in decision.next_steps),
            ]
        print("\n".join(["", f"{number:2}. {tr(scene.title)}", *(f"    {line}" for line in lines)]), flush=True)
        differences += [f"scene {number}, {difference}" for difference in scene.expected.differences(decision)]
    if differences:
        raise StoryDiffers("; ".join(differences))


def _invite(node: Node) -> str:
    """Return commands to try on the running node. The number belongs to the invented person of the first scene."""
    number = build_scenes(DAY)[0].request.document.number
    return tr(_INVITATION, number=number, results=node.addresses["results"])


if __name__ == "__main__":
    sys.exit(main())
