"""Scenes of travellers in 2022: a question to Verification at each place, and the expected decision."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import lab_pb2, next_step_pb2
from hutong.type.v1 import channel_pb2, identity_pb2, outcome_pb2, purpose_pb2
from hutong.verification.v1 import decision_pb2, evidence_pb2, verification_service_pb2
from hutong_texts import Text, english

from clients.examples.day import LAB, LAB_NAME, NEGATIVE, POOL_POSITIVE
from clients.examples.people import RESIDENT_ID_CARD, check_character

OTHER_LAB = "91210500MA000LAB8F"
"""A second invented laboratory, in Benxi, Liaoning. It is registered, but its reports are not uploaded yet."""

LABS = (
    lab_pb2.Lab(name=f"labs/{LAB}", display_name=LAB_NAME, region="220502", contact="+86 435 0000 000"),
    lab_pb2.Lab(name=f"labs/{OTHER_LAB}", display_name="本溪示例检验所", region="210500", contact="+86 24 0000 000"),
)

ANTIGEN = "items/sars-cov-2-antigen"
PAPER = channel_pb2.CHANNEL_PAPER_REPORT
TONGHUA = "220500"
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Report:
    """One person's report on paper."""

    name: str
    number: str
    lab: str
    report_number: str
    sampled: datetime
    reported: datetime

    def by_name(self, lab_name: str, *, numbered: bool = True) -> evidence_pb2.PresentedEvidence:
        """Return the paper as evidence that shows the laboratory's name in place of its code."""
        shown = self.shown()
        shown.lab = ""
        shown.lab_name = lab_name
        if not numbered:
            shown.report_number = ""
        return shown

    def shown(self, reported: datetime | None = None, item: str = "") -> evidence_pb2.PresentedEvidence:
        """Return the paper as evidence, with outcome negative. `reported` is a forged report time."""
        return evidence_pb2.PresentedEvidence(
            channel=PAPER,
            lab=f"labs/{self.lab}",
            report_number=self.report_number,
            outcome=outcome_pb2.OUTCOME_NEGATIVE,
            sample_time=timestamp(self.sampled),
            report_time=timestamp(reported or self.reported),
            item=item,
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected content of a decision. Empty fields are not compared."""

    outcome: str
    reason: str
    rule: str = ""
    until: datetime | None = None
    basis: str = ""
    next_step: str = ""
    use: str = ""
    action: str = ""
    floor: str = ""
    item: str = ""

    def differences(self, decision: decision_pb2.Decision) -> list[str]:
        """Describe the differences between the decision and the expected content."""
        rule, floor = (
            name.removeprefix("jurisdictions/").replace("policies/", "").split("@")[0]
            for name in (decision.governing_policy, decision.floor_policy)
        )
        until = decision.expire_time.ToDatetime(self.until.tzinfo) if self.until else None
        pairs = [
            ("outcome", self.outcome, decision_pb2.DecisionOutcome.Name(decision.outcome), "DECISION_OUTCOME_"),
            ("reason", self.reason, decision_pb2.DecisionReason.Name(decision.reason), "DECISION_REASON_"),
            ("basis", self.basis, decision_pb2.DecisionBasis.Name(decision.basis), "DECISION_BASIS_"),
            ("rule", self.rule, rule, ""),
            ("floor", self.floor, floor, ""),
            ("item", self.item, decision.item, ""),
            ("action", self.action, decision_pb2.GateAction.Name(decision.action), "GATE_ACTION_"),
            ("until", self.until.isoformat() if self.until else "", until.isoformat() if until else "", ""),
        ]
        found = [
            f"{what}: expected {expected}, was {actual.removeprefix(prefix)}"
            for what, expected, actual, prefix in pairs
            if expected and expected != actual.removeprefix(prefix)
        ]
        actions = {next_step_pb2.NextStepAction.Name(item.action) for item in decision.next_steps}
        if self.next_step and f"NEXT_STEP_ACTION_{self.next_step}" not in actions:
            found.append(f"next step {self.next_step} is missing")
        uses = {decision_pb2.EvidenceUse.Name(item.use) for item in decision.considered}
        if self.use and f"EVIDENCE_USE_{self.use}" not in uses:
            found.append(f"nothing considered is {self.use}")
        return found


@dataclass(frozen=True, slots=True)
class Scene:
    """One question at one place, with the expected decision."""

    title: Text
    request: verification_service_pb2.VerifyRequest
    expected: Expected


def build_scenes(day: Path) -> list[Scene]:
    """Return the scenes, with people of a day's file."""
    rows = _right_rows(day)
    traveller, editor = find_travellers(day)
    negatives = [row for row in rows if row["nat_result"] == NEGATIVE and row["card_type"] == RESIDENT_ID_CARD]
    pooled = _report(next(row for row in negatives if row["pool_size"] == "20"))
    awaiting = _report(next(row for row in rows if row["nat_result"] == POOL_POSITIVE))
    return [
        *_same_report_everywhere(traveller, pooled),
        *_paper_and_record(editor),
        *_no_proof(awaiting, traveller),
        *_antigen(),
    ]


def find_travellers(day: Path) -> tuple[Report, Report]:
    """Return the reports of two people of the day with a negative single tube."""
    rows = [row for row in _right_rows(day) if row["nat_result"] == NEGATIVE]
    single = [row for row in rows if row["card_type"] == RESIDENT_ID_CARD and row["pool_size"] == "1"]
    return _report(single[0]), _report(single[1])


def _same_report_everywhere(traveller: Report, pooled: Report) -> list[Scene]:
    """Scenes of one report at several places.

    The length of the window depends on the place of the check, not of the test.
    """
    issued = traveller.reported
    henan_ends = issued + 48 * _HOUR
    midnight = (issued + timedelta(days=4)).replace(hour=0, minute=0, second=0, microsecond=0)
    henan = "410000/recognition-from-outside"
    return [
        Scene(
            english(
                "Tested in Tonghua, Jilin; shows the paper at a hotel in Zhengzhou, one minute before 48 hours are over"
            ),
            ask(traveller, "410105", purpose_pb2.PURPOSE_HOTEL, henan_ends - _MINUTE, traveller.shown()),
            Expected("RECOGNIZED", "VALID", henan, henan_ends, "RECORD", use="SAME_AS_RECORD"),
        ),
        Scene(
            english("The same paper at the same hotel, two minutes later"),
            ask(traveller, "410105", purpose_pb2.PURPOSE_HOTEL, henan_ends + _MINUTE, traveller.shown()),
            Expected("NOT_RECOGNIZED", "EXPIRED", henan, henan_ends, action="MAY_BE_REFUSED"),
        ),
        Scene(
            english(
                "At the same minute on the metro in Shanghai, without a paper: the window is 72 hours from the report"
            ),
            ask(traveller, "310104", purpose_pb2.PURPOSE_CITY_TRANSPORT, henan_ends + _MINUTE),
            Expected("RECOGNIZED", "VALID", "310000/venue-and-transport", issued + 72 * _HOUR, "RECORD"),
        ),
        Scene(
            english(
                "In a shop in Beijing: 3 calendar days, by its own policy from sampling, by the floor from the report"
            ),
            ask(traveller, "110105", purpose_pb2.PURPOSE_PUBLIC_VENUE, henan_ends + _MINUTE),
            Expected("RECOGNIZED", "VALID", "110000/venue", midnight, "RECORD"),
        ),
        Scene(
            english(
                "Entering Tonghua 25 hours after the report, origin not asked: 24 hours from within Jilin, "
                "48 from outside"
            ),
            ask(traveller, "220502", purpose_pb2.PURPOSE_ENTER_JURISDICTION, issued + 25 * _HOUR, arriving_from=""),
            Expected("RECOGNIZED", "VALID", "220500/entry-from-outside", henan_ends, "RECORD", action="LET_IN"),
        ),
        Scene(
            english("A member of a negative pool of twenty, in a shop in Wuzhou a day later"),
            ask(pooled, "450403", purpose_pb2.PURPOSE_PUBLIC_VENUE, pooled.reported + 24 * _HOUR),
            Expected("RECOGNIZED", "VALID", "450400/venue", pooled.reported + 72 * _HOUR, "RECORD"),
        ),
    ]


def _paper_and_record(editor: Report) -> list[Scene]:
    """Scenes with paper reports.

    Paper has the same force as other channels, and is compared with the record if there is a record.
    """
    unknown = Report(
        name="韦示例",
        number="450403188009090041",
        lab=OTHER_LAB,
        report_number="BX-0001",
        sampled=datetime.fromisoformat("2022-08-10T08:00:00+08:00"),
        reported=datetime.fromisoformat("2022-08-10T16:00:00+08:00"),
    )
    edited = editor.reported + timedelta(days=1)
    return [
        Scene(
            english(
                "Tested in Benxi, Liaoning; shows a paper report that is not on record here, at a park in Zhengzhou"
            ),
            ask(unknown, "410105", purpose_pb2.PURPOSE_SCENIC_SITE, unknown.reported + 20 * _HOUR, unknown.shown()),
            Expected(
                "RECOGNIZED",
                "VALID",
                "410000/recognition-from-outside",
                unknown.reported + 48 * _HOUR,
                "PRESENTED",
                "UPLOAD_REPORT",
            ),
        ),
        Scene(
            english(
                "The same paper, which shows its laboratory's name and not the code: the register knows "
                "one of that name"
            ),
            ask(
                unknown,
                "410105",
                purpose_pb2.PURPOSE_SCENIC_SITE,
                unknown.reported + 20 * _HOUR,
                unknown.by_name("本溪 示例检验所"),
            ),
            Expected(
                "RECOGNIZED",
                "VALID",
                "410000/recognition-from-outside",
                unknown.reported + 48 * _HOUR,
                "PRESENTED",
                "UPLOAD_REPORT",
            ),
        ),
        Scene(
            english(
                "A paper with the laboratory's name alone, without a number: not to be compared, and no "
                "ground to refuse"
            ),
            ask(
                unknown,
                "410105",
                purpose_pb2.PURPOSE_SCENIC_SITE,
                unknown.reported + 20 * _HOUR,
                unknown.by_name("本溪示例检验所", numbered=False),
            ),
            Expected(
                "UNDETERMINED",
                "EVIDENCE_NOT_COMPARABLE",
                "410000/recognition-from-outside",
                next_step="EXAMINE_EVIDENCE",
                use="NOT_COMPARABLE",
                action="LET_IN_AND_REGISTER",
            ),
        ),
        Scene(
            english(
                "Shows a paper with a forged report time, one day late, 60 hours after the true report, in Zhengzhou"
            ),
            ask(editor, "410105", purpose_pb2.PURPOSE_HOTEL, editor.reported + 60 * _HOUR, editor.shown(edited)),
            Expected(
                "NOT_RECOGNIZED",
                "EXPIRED",
                "410000/recognition-from-outside",
                editor.reported + 48 * _HOUR,
                next_step="EXAMINE_EVIDENCE",
                use="CONTRADICTS_RECORD",
            ),
        ),
    ]


def _no_proof(awaiting: Report, traveller: Report) -> list[Scene]:
    """Scenes without a valid result: positive pool, no result, another person's paper, no policy, not required."""
    noon = datetime.fromisoformat("2022-08-10T12:00:00+08:00")
    digits = "41010518610101001"
    untested = Report("赵示例", digits + check_character(digits), "", "", noon, noon)
    hotel = purpose_pb2.PURPOSE_HOTEL
    december, lift = datetime.fromisoformat("2022-12-08T12:00:00+08:00"), "000000/no-result-asked"
    return [
        Scene(
            english(
                "A member of a positive pool of ten on the metro in Zhengzhou: not a positive person, but "
                "a recheck is due"
            ),
            ask(awaiting, "410105", purpose_pb2.PURPOSE_CITY_TRANSPORT, noon),
            Expected(
                "NOT_RECOGNIZED", "PENDING_RECHECK", "410100/venue-and-transport", next_step="RECHECK_SINGLE_TUBE"
            ),
        ),
        Scene(
            english("No report shown and none on record, at a hotel in Zhengzhou"),
            ask(untested, "410105", hotel, noon),
            Expected("NOT_RECOGNIZED", "NO_RESULT", "410000/recognition-from-outside", action="MAY_BE_REFUSED"),
        ),
        Scene(
            english("The same person with the paper of the traveller of the first scene"),
            ask(untested, "410105", hotel, noon, traveller.shown()),
            Expected(
                "NOT_RECOGNIZED",
                "EVIDENCE_CONTRADICTS_RECORD",
                "410000/recognition-from-outside",
                next_step="EXAMINE_EVIDENCE",
                use="CONTRADICTS_RECORD",
            ),
        ),
        Scene(
            english(
                "The traveller of the first scene at a hotel in Sanya, Hainan, for which no policy is published here"
            ),
            ask(traveller, "460200", hotel, noon),
            Expected("UNDETERMINED", "NO_POLICY_IN_FORCE", action="LET_IN"),
        ),
        Scene(
            english(
                "In a shop in Zhengzhou on 8 December 2022: the city still asks for 24 hours, the nation's "
                "floor lifts it"
            ),
            ask(traveller, "410105", purpose_pb2.PURPOSE_PUBLIC_VENUE, december),
            Expected("NOT_REQUIRED", "NO_TEST_REQUIRED", "410100/venue-and-transport", floor=lift),
        ),
        Scene(
            english("That day at the hotel in Sanya, for which no policy is published: the floor lifts there too"),
            ask(traveller, "460200", hotel, december),
            Expected("NOT_REQUIRED", "NO_TEST_REQUIRED", floor=lift, action="LET_IN"),
        ),
    ]


def _antigen() -> list[Scene]:
    """Scenes of an antigen test, where antigen is accepted beside nucleic acid and where it is not accepted."""
    sampled = datetime.fromisoformat("2022-12-08T08:00:00+08:00")
    digits = "41010518620202002"
    tested = Report("钱示例", digits + check_character(digits), OTHER_LAB, "BX-0002", sampled, sampled + 20 * _MINUTE)
    shown, noon = tested.shown(item=ANTIGEN), sampled + 4 * _HOUR
    return [
        Scene(
            english(
                "An antigen test at a care home in Wuzhou, which accepts 48 hours of nucleic acid or 24 "
                "hours of antigen"
            ),
            ask(tested, "450403", purpose_pb2.PURPOSE_CARE_HOME, noon, shown),
            Expected(
                "RECOGNIZED",
                "VALID",
                "450400/example-care-home",
                tested.reported + 24 * _HOUR,
                "PRESENTED",
                "UPLOAD_REPORT",
                item=ANTIGEN,
            ),
        ),
        Scene(
            english(
                "The same antigen test at a hospital in Beijing, which asks for nucleic acid: another "
                "item, without effect"
            ),
            ask(tested, "110105", purpose_pb2.PURPOSE_MEDICAL_INSTITUTION, noon, shown),
            Expected("NOT_RECOGNIZED", "NO_RESULT", "110000/medical", use="OTHER_ITEM", action="LET_IN"),
        ),
    ]


def ask(
    report: Report,
    region: str,
    purpose: purpose_pb2.Purpose.ValueType,
    use: datetime,
    evidence: evidence_pb2.PresentedEvidence | None = None,
    arriving_from: str = TONGHUA,
) -> verification_service_pb2.VerifyRequest:
    """Build a gate's question about a person who arrives from Tonghua unless `arriving_from` differs."""
    return verification_service_pb2.VerifyRequest(
        document=identity_pb2.IdentityDocument(
            type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD, number=report.number, name=report.name
        ),
        region=region,
        purpose=purpose,
        arriving_from=arriving_from,
        use_time=timestamp(use),
        evidence=[evidence] if evidence else [],
    )


def _right_rows(day: Path) -> list[dict[str, str]]:
    with day.with_suffix(".wrong.csv").open(encoding="utf-8", newline="") as file:
        wrong = {int(row["line"]) for row in csv.DictReader(file)}
    with day.open(encoding="utf-8", newline="") as file:
        return [row for line, row in enumerate(csv.DictReader(file), start=2) if line not in wrong]


def _report(row: dict[str, str]) -> Report:
    return Report(
        name=row["name"],
        number=row["card_no"],
        lab=LAB,
        report_number=row["report_no"],
        sampled=datetime.fromisoformat(row["sample_date"]),
        reported=datetime.fromisoformat(row["report_date"]),
    )


def timestamp(moment: datetime) -> Timestamp:
    """Convert an instant to a Timestamp."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
