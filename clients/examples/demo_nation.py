"""Demonstrate Hutong across provinces: a nation, three provinces, a city, and a traveller who was tested in Tonghua.

The demonstration starts a national node, the nodes of Henan, Shandong and Jilin, and the node of Zhengzhou below
Henan's on this machine. The nation publishes its notice and the provinces publish their windows. A laboratory in
Tonghua uploads its day in Jilin, and the traveller goes to a hotel in Zhengzhou. Every answer is compared with the
story; exit code 1 means that one differs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from google.type.interval_pb2 import Interval
from hutong.exchange.v1 import exchange_service_pb2
from hutong.policy.v1 import policy_service_pb2
from hutong.results.v1 import (
    import_service_pb2,
    lab_service_pb2,
    lookup_pb2,
    missing_report_service_pb2,
    result_pb2,
    results_admin_service_pb2,
    results_service_pb2,
)
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2, refusal_pb2, refusal_service_pb2, verification_service_pb2
from hutong_client.cli.explanation import explain
from hutong_client.connection import Connection, connect
from hutong_client.errors import HutongError
from hutong_texts import english, list_words, speaking, tr
from hutong_texts.language import find_language

from clients.examples.day import LAB
from clients.examples.demo import DAY, POLICIES
from clients.examples.generate_day import PEOPLE
from clients.examples.node import ALL, SERVICES, Node, NotServing, free_addresses, running_node
from clients.examples.stage import CALL_SECONDS, PATIENT, StoryDiffers, announce, run_hutong
from clients.examples.story import LABS, Expected, Report, ask, find_travellers, timestamp

PROVINCES = {"Henan": "410000", "Shandong": "370000", "Jilin": "220000"}
CITY = "Zhengzhou"
_PUBLISHERS = {
    "Nation": ("nation",),
    "Henan": ("henan",),
    CITY: ("zhengzhou",),
    "Shandong": ("shandong", "qingdao", "jinan"),
    "Jilin": ("tonghua",),
}
_HOTEL = purpose_pb2.PURPOSE_HOTEL
# An invented policy, because the public record has no window of Shandong in August 2022.
_EXAMPLE_RULE = """
name: jurisdictions/370000/policies/example-hotel
title: 示例：住宿，72小时
source: {title: 示例文件，仅供演示}
purposes: [PURPOSE_HOTEL]
test_required:
  window: {duration: 259200s, basis: VALIDITY_BASIS_REPORT_TIME}
  refusal_permitted: true
effective_start_time: "2022-08-01T00:00:00+08:00"
effective_end_time: "2022-09-13T00:00:00+08:00"
retroactive_reason: a demonstration
"""
_NAMES = (english("Nation"), english("Jilin"), english("Henan"), english("Shandong"), english("Zhengzhou"))
"""The nodes, in the order of their start."""
_WAIT_SECONDS = 60.0
"""The longest wait until a change reaches another node, with a wide margin for a slow machine."""
_PARTLY = 3


class Country:
    """Five nodes on this machine, by name."""

    def __init__(self, stack: ExitStack, where: Path) -> None:
        self.nodes: dict[str, Node] = {}
        self.calls: dict[str, Connection] = {}
        self._stack = stack
        self._where = where
        self._pepper = where / "pepper-of-the-nation"
        self._pepper.write_bytes(secrets.token_bytes(32))

    def start(self, name: str, region: str, above: str = "Nation") -> Node:
        """Start a node. The first one is the nation, and the others use `above` as their upstream."""
        variables = PATIENT | {"HUTONG_JURISDICTION": region, "HUTONG_PEPPER_FILE": str(self._pepper)}
        # The nodes share one machine, and one laboratory uploads. Worker processes of each node would take longer to
        # start than they could save.
        variables["HUTONG_UPLOAD_WORKERS"] = "0"
        if self.nodes:
            upstream = self.nodes[above].addresses
            variables |= {
                "HUTONG_UPSTREAM": upstream["results"],
                "HUTONG_UPSTREAM_POLICY": upstream["policy"],
                "HUTONG_UPSTREAM_VERIFICATION": upstream["verification"],
            }
        # The nation's services run in a process each, because the demonstration kills Results alone and Policy alone.
        services = [ALL] if self.nodes else SERVICES
        node = self._stack.enter_context(running_node(self._where / name, free_addresses(), services, variables))
        self.nodes[name] = node
        self.calls[name] = self._stack.enter_context(connect(environment=node.environment))
        return node

    def known_until(self, name: str) -> datetime:
        """Return the instant up to which the nation knows everything that a node below it has acknowledged."""
        exchange = self.calls["Nation"].exchange
        nodes = exchange.ListNodes(exchange_service_pb2.ListNodesRequest(), timeout=CALL_SECONDS).nodes
        instants = [node.as_of_time.ToDatetime(UTC) for node in nodes if node.name == name]
        return max(instants, default=datetime.min.replace(tzinfo=UTC))


def main() -> int:
    """Run the demonstration and return its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    with speaking(find_language(os.environ)), ExitStack() as stack:
        where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hutong-nation-")))
        try:
            print(tr("Hutong: a nation, three provinces, a city and one traveller."), flush=True)
            play(Country(stack, where), where)
            print(
                tr("\nAll answers are as expected, after {seconds:.0f} s.", seconds=time.monotonic() - started),
                flush=True,
            )
        except (StoryDiffers, NotServing, HutongError) as failure:
            print(tr("\nNot as expected: {failure}", failure=failure), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(tr("\nStopping."), flush=True)
    return 0


def play(country: Country, where: Path) -> None:
    """Start, publish, upload and verify. Then play what may happen to a report and to a laboratory.

    These are a refusal, an unreachable nation, a denied report, a suspension and a recall.

    Raises:
        StoryDiffers: an answer differs.
    """
    for name, region in {"Nation": "000000", **PROVINCES, CITY: "410100"}.items():
        node = country.start(name, region, "Henan" if name == CITY else "Nation")
        print(
            tr(
                "  {name}, nodes/{region}: {services}",
                name=tr(name),
                region=region,
                services=list_words(
                    (
                        tr("{name} at {address}", name=service, address=address)
                        for service, address in node.addresses.items()
                    )
                ),
            )
        )
    _publish(country, where)
    _upload(country, where)
    traveller, other = find_travellers(DAY)
    _walk(country, traveller)
    _complain(country, traveller)
    _kill_the_nation(country, traveller)
    unknown = _show_missing_report(country)
    _deny(country, unknown)
    _suspend(country, traveller)
    _recall(country, other)


def _publish(country: Country, where: Path) -> None:
    announce(tr("Each node publishes its own policies of 2022, and the provinces receive those of the nation:"))
    for name, stems in _PUBLISHERS.items():
        mine = where / f"policies-{name}"
        mine.mkdir()
        for file in sorted(POLICIES.glob("*.yaml")):
            if file.name.split("-", 1)[1].startswith(stems):
                shutil.copy(file, mine)
        if name == "Shandong":
            (mine / "00-example.yaml").write_text(_EXAMPLE_RULE, encoding="utf-8")
        applied = run_hutong(country.nodes[name], "policy", "apply", "-f", str(mine), "--yes")["policies"]
        print(tr("  {name}: {count} policies", name=tr(name), count=len(applied)), flush=True)
    notice = "jurisdictions/000000/policies/notice-81"
    begun = time.monotonic()
    for name in (*PROVINCES, CITY):
        _await(tr("the notice in {name}", name=tr(name)), partial(_has_policy, country.calls[name], notice))
    print(
        tr(
            "  The national notice binds in all provinces and in the city, {seconds:.2f} s after the last upload",
            seconds=time.monotonic() - begun,
        )
    )
    rule = "jurisdictions/410100/policies/venue-and-transport@1"
    for name in ("Nation", "Henan", CITY):
        _await(tr("Zhengzhou's rule in {name}", name=tr(name)), partial(_is_governed, country.calls[name], rule))
    print(tr("  Zhengzhou's rule for public venues governs there at the nation's node, at Henan's and at its own"))


def _is_governed(calls: Connection, rule: str) -> bool:
    """Return whether a node answers by a rule of Zhengzhou about public venues there in June 2022."""
    question = policy_service_pb2.ResolvePolicyRequest(
        region="410105",
        purpose=purpose_pb2.PURPOSE_PUBLIC_VENUE,
        arriving_from="410105",
        effective_time=timestamp(datetime(2022, 6, 10, tzinfo=UTC)),
    )
    return calls.policies.ResolvePolicy(question, timeout=CALL_SECONDS).effective_policy.governing == rule


def _has_policy(calls: Connection, name: str) -> bool:
    listed = calls.policies.ListPolicies(
        policy_service_pb2.ListPoliciesRequest(jurisdiction="jurisdictions/000000"), timeout=CALL_SECONDS
    )
    return any(policy.name.startswith(name) for policy in listed.policies)


def _upload(country: Country, where: Path) -> None:
    jilin = country.nodes["Jilin"]
    country.calls["Jilin"].labs.CreateLab(lab_service_pb2.CreateLabRequest(lab=LABS[0]), timeout=CALL_SECONDS)
    announce(tr("A laboratory in Tonghua uploads its day in Jilin: hutong upload lab-day.csv --lab {lab}", lab=LAB))
    day = Path(shutil.copy(DAY, where))
    answer = run_hutong(jilin, "upload", str(day), "--lab", LAB, exit_code=_PARTLY)
    begun, acknowledged = time.monotonic(), datetime.now(UTC)
    if answer["accepted"] != PEOPLE:
        raise StoryDiffers(
            tr("the upload should accept {people} rows and accepted {answer}", people=PEOPLE, answer=answer["accepted"])
        )
    _await(tr("the day at the nation"), lambda: country.known_until("nodes/220000") > acknowledged)
    print(
        tr(
            "  accepted {answer}; at the nation {seconds:.2f} s after the acknowledgement",
            answer=answer["accepted"],
            seconds=time.monotonic() - begun,
        )
    )


def _walk(country: Country, traveller: Report) -> None:
    announce(tr("The traveller goes to a hotel in Zhengzhou. Henan asks its own store, and then the nation:"))
    soon = traveller.reported + timedelta(hours=20)
    question = ask(traveller, "410105", _HOTEL, soon)
    until = traveller.reported + timedelta(hours=48)
    rule = "410000/recognition-from-outside"
    decision = _verify(country, "Henan", question, Expected("RECOGNIZED", "VALID", rule, until, "RECORD"))
    _print(country, "Henan", decision)
    announce(tr("Zhengzhou's own node asks its own store, and Henan, which asks the nation:"))
    decision = _verify(country, CITY, question, Expected("RECOGNIZED", "VALID", rule, until, "RECORD"))
    _print(country, CITY, decision)
    announce(tr("The same evening in Qingdao, Shandong:"))
    question = ask(traveller, "370202", _HOTEL, soon)
    decision = _verify(country, "Shandong", question, Expected("RECOGNIZED", "VALID", basis="RECORD"))
    _print(country, "Shandong", decision)


def _print(country: Country, name: str, decision: decision_pb2.Decision) -> None:
    def title_of(policy: str) -> str:
        request = policy_service_pb2.GetPolicyRequest(name=policy)
        return f"“{tr(country.calls[name].policies.GetPolicy(request, timeout=CALL_SECONDS).policy.title)}”"

    print("\n".join(f"    {line}" for line in explain(decision, title_of)), flush=True)


def _complain(country: Country, traveller: Report) -> None:
    announce(tr("Another hotel in Zhengzhou refuses the traveller, who reports it to the nation. Zhengzhou answers:"))
    refused = traveller.reported + timedelta(hours=20)
    question = ask(traveller, "410105", _HOTEL, refused)
    reports = country.calls["Nation"].refusals
    reported = reports.ReportRefusal(
        refusal_service_pb2.ReportRefusalRequest(
            region=question.region,
            venue="示例宾馆",
            venue_kind=refusal_pb2.VENUE_KIND_LODGING,
            purpose=_HOTEL,
            refuse_time=timestamp(refused),
            grounds=[refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY],
            document=question.document,
        ),
        timeout=CALL_SECONDS,
    )
    begun = time.monotonic()
    print(tr("    At the nation: pending, with the code of the receipt {code}", code=reported.code), flush=True)
    track = refusal_service_pb2.TrackRefusalRequest(code=reported.code)

    def tracked() -> refusal_pb2.Refusal:
        return reports.TrackRefusal(track, timeout=CALL_SECONDS).refusal

    _await(tr("the assessment at the nation"), lambda: tracked().assess_node)
    assessed = tracked()
    unlawful = assessed.assessment == refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL
    if assessed.assess_node != "nodes/410100" or not unlawful:
        raise StoryDiffers(tr("Zhengzhou should assess the refusal as unlawful"))
    print(
        tr(
            "    Zhengzhou's node found it unlawful, {seconds:.2f} s after the report",
            seconds=time.monotonic() - begun,
        ),
        flush=True,
    )
    run_hutong(country.nodes[CITY], "refusal", "answer", assessed.name, "示例宾馆已整改")
    begun = time.monotonic()
    _await(tr("the answer at the nation"), lambda: tracked().answer)
    print(
        tr(
            "    hutong refusal answer in Zhengzhou: read with the code at the nation {seconds:.2f} s later",
            seconds=time.monotonic() - begun,
        ),
        flush=True,
    )


def _kill_the_nation(country: Country, traveller: Report) -> None:
    announce(tr("The national node is killed. An unavailable source is never a ground to refuse the holder:"))
    nation = country.nodes["Nation"]
    nation.kill("results")
    nation.kill("policy")
    soon = traveller.reported + timedelta(hours=20)
    bare = ask(traveller, "410105", _HOTEL, soon)
    bare.scope = lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    decision = _verify(country, "Henan", bare, Expected("UNDETERMINED", "SOURCE_UNAVAILABLE"))
    if decision.refusal_permitted:
        raise StoryDiffers(tr("a refusal was permitted while the nation could not be reached"))
    print(tr("    Without a paper report: UNDETERMINED, and no refusal is permitted"), flush=True)
    shown = ask(traveller, "410105", _HOTEL, soon, traveller.shown())
    shown.scope = lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    _verify(
        country, "Henan", shown, Expected("RECOGNIZED", "VALID", "410000/recognition-from-outside", basis="PRESENTED")
    )
    print(tr("    With the paper report: RECOGNIZED, with equal force, under the last known floor"), flush=True)
    nation.start("results", "policy")
    begun = time.monotonic()

    def recognised() -> bool:
        decision = country.calls["Henan"].verification.Verify(bare, timeout=CALL_SECONDS).decision
        return decision.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED

    _await(tr("recognition after the nation's return"), recognised)
    print(
        tr(
            "    The nation is running: recognised by record again {seconds:.2f} s later",
            seconds=time.monotonic() - begun,
        ),
        flush=True,
    )


def _show_missing_report(country: Country) -> Report:
    announce(
        tr("In Shandong a person shows a report without a record. The laboratory's node learns of the missing report:")
    )
    traveller, _ = find_travellers(DAY)
    unknown = Report("韦示例", "450403188009090041", LAB, "TH-LATE-1", traveller.sampled, traveller.reported)
    question = ask(unknown, "370202", _HOTEL, unknown.reported + timedelta(hours=10), unknown.shown())
    question.scope = lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    _verify(
        country, "Shandong", question, Expected("RECOGNIZED", "VALID", basis="PRESENTED", next_step="UPLOAD_REPORT")
    )

    missing = country.calls["Jilin"].missing_reports
    request = missing_report_service_pb2.ListMissingReportsRequest()
    _await(
        tr("the missing report in Jilin"),
        lambda: missing.ListMissingReports(request, timeout=CALL_SECONDS).missing_reports,
    )
    listed = run_hutong(country.nodes["Jilin"], "missing-reports")["missing_reports"]
    if [item["report_number"] for item in listed] != [unknown.report_number]:
        raise StoryDiffers(tr("Jilin should list {report_number} as missing", report_number=unknown.report_number))
    print(
        tr(
            "    hutong missing-reports in Jilin: labs/{lab} is to upload {report_number}",
            lab=LAB,
            report_number=unknown.report_number,
        ),
        flush=True,
    )
    return unknown


def _deny(country: Country, unknown: Report) -> None:
    announce(tr("The laboratory has issued no such report, and says so in Jilin. Shandong learns it at once:"))
    name = f"labs/{LAB}/missingReports/{unknown.report_number}"
    run_hutong(country.nodes["Jilin"], "answer-missing-report", name, "not-ours")
    question = ask(unknown, "370202", _HOTEL, unknown.reported + timedelta(hours=10), unknown.shown())
    question.scope = lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    calls = country.calls["Shandong"].verification

    def is_denied() -> bool:
        decision = calls.Verify(question, timeout=CALL_SECONDS).decision
        return decision.reason == decision_pb2.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD

    _await(tr("the denial in Shandong"), is_denied)
    expected = Expected(
        "NOT_RECOGNIZED", "EVIDENCE_CONTRADICTS_RECORD", use="DENIED_BY_LAB", next_step="EXAMINE_EVIDENCE"
    )
    _verify(country, "Shandong", question, expected)
    (case,) = run_hutong(country.nodes["Shandong"], "case", "list", "--kind", "denied-by-lab")["evidence_cases"]
    run_hutong(country.nodes["Shandong"], "case", "conclude", case["name"], "forged")
    print(tr("    The paper counts for nothing. An officer concludes the case {name}", name=case["name"]), flush=True)


def _suspend(country: Country, traveller: Report) -> None:
    announce(
        tr("Zhengzhou imports the traveller's results. Jilin suspends the laboratory, and Zhengzhou's copy follows:")
    )
    question = ask(traveller, "410105", _HOTEL, traveller.reported + timedelta(hours=20))
    question.scope = lookup_pb2.LOOKUP_SCOPE_LOCAL
    city = country.calls[CITY]
    city.imports.ImportResults(
        import_service_pb2.ImportResultsRequest(document=question.document), timeout=CALL_SECONDS
    )
    _verify(country, CITY, question, Expected("RECOGNIZED", "VALID", basis="RECORD"))
    print(tr("    From its own store, Zhengzhou recognises the copy"), flush=True)
    begin = traveller.reported.isoformat()
    run_hutong(country.nodes["Jilin"], "lab", "set-standing", LAB, "suspended", "--reason", "example", "--from", begin)
    begun = time.monotonic()

    def is_suspended() -> bool:
        decision = city.verification.Verify(question, timeout=CALL_SECONDS).decision
        return decision.outcome != decision_pb2.DECISION_OUTCOME_RECOGNIZED

    _await(tr("the suspension in Zhengzhou"), is_suspended)
    seconds = time.monotonic() - begun
    question.scope = lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    expected = Expected("NOT_RECOGNIZED", "LAB_NOT_AUTHORIZED", use="LAB_NOT_AUTHORIZED")
    for name in (CITY, "Henan", "Nation"):
        _verify(country, name, question, expected)
    print(
        tr(
            "    The copy counts no more {seconds:.2f} s after hutong lab set-standing in Jilin; Zhengzhou, Henan and "
            "the nation answer alike",
            seconds=seconds,
        ),
        flush=True,
    )


def _recall(country: Country, other: Report) -> None:
    announce(
        tr("Henan imports a person's results. The laboratory recalls one in Jilin, and the copy in Henan is recalled:")
    )
    henan, jilin = country.calls["Henan"], country.calls["Jilin"]
    document = ask(other, "410105", _HOTEL, other.reported).document
    imported = henan.imports.ImportResults(
        import_service_pb2.ImportResultsRequest(document=document), timeout=CALL_SECONDS
    )
    if [result.source_node for result in imported.test_results] != ["nodes/220000"]:
        raise StoryDiffers(tr("Henan should import one result of Jilin"))
    jilin.results_admin.RecallResults(
        results_admin_service_pb2.RecallResultsRequest(
            lab=f"labs/{LAB}",
            report_interval=Interval(
                start_time=timestamp(other.reported), end_time=timestamp(other.reported + timedelta(minutes=1))
            ),
            reason="contaminated run",
        ),
        timeout=CALL_SECONDS,
    )
    begun = time.monotonic()
    look_up = results_service_pb2.LookupLatestRequest(document=document)

    def recalled() -> bool:
        found = henan.results.LookupLatest(look_up, timeout=CALL_SECONDS)
        return any(result.state == result_pb2.RESULT_STATE_RECALLED for result in found.out_of_region)

    _await(tr("the recall in Henan"), recalled)
    print(
        tr("    recalled in Henan's own store {seconds:.2f} s after Jilin's answer", seconds=time.monotonic() - begun),
        flush=True,
    )


def _verify(
    country: Country, name: str, question: verification_service_pb2.VerifyRequest, expected: Expected
) -> decision_pb2.Decision:
    decision = country.calls[name].verification.Verify(question, timeout=CALL_SECONDS).decision
    differences = expected.differences(decision)
    if differences:
        raise StoryDiffers(tr("in {name}: {differences}", name=tr(name), differences="; ".join(differences)))
    return decision


def _await(what: str, condition: Callable[[], Any]) -> None:
    until = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise StoryDiffers(
                tr("{what} did not happen within {wait_seconds:.0f} s", what=what, wait_seconds=_WAIT_SECONDS)
            )
        time.sleep(0.05)


if __name__ == "__main__":
    # The environment may have settings of another node. They must not affect the demonstration.
    for variable in [name for name in os.environ if name.startswith("HUTONG_")]:
        del os.environ[variable]
    sys.exit(main())
