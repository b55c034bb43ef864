"""Runs a story through Verification's own verifier and stores, on a real database.

Policy, Results and the clock are scripted: each step sets what the sources answer and what time it is.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem
from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.results.v1.results_service_pb2 import LookupLatestRequest, LookupLatestResponse
from hutong.type.v1 import identity_pb2, outcome_pb2, purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1.evidence_flag_pb2 import EvidenceFlagKind
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest
from hutong.verification.v1.verification_service_pb2 import ReplayComparison, VerifyRequest
from sqlalchemy import select, update

from services.domain.errors import NotFound
from services.domain.instant import DAY, HOUR, SHANGHAI, Instant, from_datetime, from_timestamp, to_timestamp
from services.domain.subject import Pepper
from services.runtime.clock import FixedClock
from services.runtime.configuration.settings import Settings
from services.runtime.ids import uuid7
from services.storage.engine import Database
from services.verification.decision.model import SOURCE_OK, SOURCE_UNAVAILABLE, SourceStatus
from services.verification.decision_counts.counter import DecisionCounter
from services.verification.holder_tokens.store import TokenUses
from services.verification.refusals.assessing import Assessor
from services.verification.refusals.reporting import RefusalReporter
from services.verification.refusals.store import RefusalStore
from services.verification.refusals.tables import refusals
from services.verification.retention import Purge, RetentionAges, purge_verification
from services.verification.showings.store import FlagStore
from services.verification.sources.convert import policy_answer_from_proto
from services.verification.sources.lookup_answer import LookupAnswer, answer_from_message
from services.verification.sources.model import LookUp, PolicyAnswer, PolicyQuestion
from services.verification.stored_decisions.store import DecisionStore
from services.verification.stored_decisions.tables import decisions
from services.verification.verify.ask import Sources
from services.verification.verify.replay import replay
from services.verification.verify.single import SingleQuestions
from services.verification.verify.verifier import Verifier
from tests.support.golden.messages import AWAY, OK, make_paper, make_policy, make_record, make_window

NUMBER = "410105186001010019"
"""The resident number of a made-up person, born in 1860."""
OTHER_NUMBER = "220502187003030031"
"""The number of another made-up person, born in 1870."""
PLACE = {"region": "410105", "purpose": purpose_pb2.PURPOSE_HOTEL}
NODE = "nodes/410000"


def instant(text: str) -> Instant:
    """Return an instant of Asia/Shanghai."""
    return from_datetime(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI))


class ScriptedPolicy:
    """The verifier's client of Policy. It has one answer at hand."""

    unavailable = SourceStatus(f"{NODE}/policy", SOURCE_UNAVAILABLE, None)
    answer: PolicyAnswer | None = None
    knows_place = True
    """Whether the place lies in the region of the node, so that its policies are known here."""

    def set(self, window: str | None) -> None:
        """Set what applies: a window as in "48h", "none" if nothing is asked, or None if no policy is in force.

        "lifted" is as "none", by a floor of a higher authority. After "48h lenient" nobody may be refused.
        """
        item = ResolvePolicyItem()
        if window in ("none", "lifted"):
            item.effective_policy.CopyFrom(make_policy(lifted=window == "lifted"))
        elif window is not None:
            length, _, lenient = window.partition(" ")
            asked = make_window(int(length.rstrip("h")) * HOUR)
            item.effective_policy.CopyFrom(make_policy(asked, refuse=not lenient))
        else:
            item.effective_policy.SetInParent()
        self.answer = policy_answer_from_proto(item, 0, 0.0, 0)

    def find_cached(self, _question: PolicyQuestion) -> PolicyAnswer | None:
        """Return the answer."""
        return self.answer

    def is_complete(self, known: PolicyAnswer, _region: str) -> bool:
        """Return whether this node has the policies of the place, or a floor lifts."""
        return known.is_lifted or self.knows_place

    def status(self, known: PolicyAnswer) -> SourceStatus:
        """Return that Policy answered."""
        return SourceStatus(f"{NODE}/policy", SOURCE_OK, known.as_of_time)


class ScriptedResults:
    """The verifier's client of Results. The node has some of the person's results, and the nation has all of them.

    Attributes:
        records: what the node has.
        elsewhere: what only the nation has besides.
        horizon: the nation has removed what was reported before.
        registered: whether the laboratories that evidence shows are registered.
        asked: the scopes of the look-ups.
    """

    unavailable = SourceStatus(f"{NODE}/results", SOURCE_UNAVAILABLE, None)

    def __init__(self) -> None:
        self.records: list[result_pb2.TestResult] = []
        self.elsewhere: list[result_pb2.TestResult] = []
        self.nation_is_silent = False
        self.horizon: Instant | None = None
        self.registered = True
        self.asked: list[str] = []

    def ask(self, look_up: LookUp, _share: float = 1.0) -> asyncio.Future[LookupAnswer]:
        """Answer at once."""
        self.asked.append(lookup_pb2.LookupScope.Name(look_up.scope).removeprefix("LOOKUP_SCOPE_"))
        answer = LookupLatestResponse(in_region=self.records)
        answer.sources.add(node=NODE, state=OK)
        if look_up.scope == lookup_pb2.LOOKUP_SCOPE_NATIONWIDE:
            nation = answer.sources.add(node="nodes/000000", state=AWAY if self.nation_is_silent else OK)
            if self.horizon is not None:
                nation.retention_start_time.CopyFrom(to_timestamp(self.horizon))
            answer.out_of_region.extend(() if self.nation_is_silent else self.elsewhere)
        for claimed in look_up.claimed_reports:
            known = [*answer.in_region, *answer.out_of_region]
            found = [one for one in known if one.report_number == claimed.report_number]
            states = lookup_pb2.ClaimedReportMatchState
            name = "FOUND" if found else "NOT_FOUND"
            answer.claims.add(
                state=states.Value(f"CLAIMED_REPORT_MATCH_STATE_{name}") if claimed.lab else 0,
                result=found[0] if found and claimed.lab else None,
                lab_standing=1 if self.registered else 0,
                lab=claimed.lab,
            )
        future: asyncio.Future[LookupAnswer] = asyncio.get_running_loop().create_future()
        future.set_result(answer_from_message(answer))
        return future

    async def look_up_shared(self, look_ups: list[LookUp]) -> list[LookupAnswer]:
        """Answer as `ask`."""
        return [await self.ask(look_up) for look_up in look_ups]

    def seconds_to_wait(self, _share: float = 1.0) -> float:
        """Return a wait that never ends a look-up."""
        return 60.0

    def is_shared(self, look_up: LookupLatestRequest) -> bool:
        """Return whether the node itself answers."""
        return look_up.scope != lookup_pb2.LOOKUP_SCOPE_NATIONWIDE

    def may_wait(self, _look_up: LookupLatestRequest) -> bool:
        """Return that no look-up has another node's token."""
        return False


class Story:
    """One story: its steps run one after another on one database. `counter` counts its decisions."""

    def __init__(self, database: Database, reports: dict[str, dict[str, str]]) -> None:
        self._database = database
        self._reports = reports
        self._clock = FixedClock(0)
        self._policy, self._results = ScriptedPolicy(), ScriptedResults()
        pepper = Pepper(b"p" * 32)
        scripted: Any = self._policy
        results: Any = self._results
        store = DecisionStore(database)
        self._store = store
        sources = Sources(scripted, results)
        self.counter = DecisionCounter()
        self._verifier = Verifier(
            sources, results, store, pepper, self._clock, TokenUses(database, self._clock), self.counter
        )
        self._singles = SingleQuestions(self._verifier, sources, results)
        kept = RefusalStore(database, [b"s" * 32])
        assessor = Assessor(scripted, store, pepper, "000000")
        self._reporter = RefusalReporter(self._verifier, assessor, store, kept, pepper, self._clock)
        self._names: dict[str, str] = {}

    async def run(self, step: dict[str, Any]) -> None:
        """Run a step, and compare what comes of it with what the step expects."""
        if "at" in step:
            self._clock.instant = instant(step["at"])
        if "by" in step:
            self._policy.set(step["by"])
        self._policy.knows_place = step.get("place", "") != "elsewhere"
        self._results.nation_is_silent = step.get("nation") == "silent"
        self._results.records = [self._record(name) for name in step.get("recorded", ())]
        self._results.elsewhere = [self._record(name) for name in step.get("elsewhere", ())]
        self._results.horizon = instant(step["nation removed"]) if "nation removed" in step else None
        self._results.registered = step.get("registered", True)
        self._results.asked.clear()
        for kind in ("verify", "refuse", "purge", "replay", "alter"):
            if kind in step:
                await getattr(self, f"_{kind}")(step)
                return
        raise AssertionError(f"a step of no kind: {step}")

    async def _verify(self, step: dict[str, Any]) -> None:
        """Ask, and compare the decision, which scopes were looked up, and whether the decision is stored."""
        scope = lookup_pb2.LookupScope.Value(f"LOOKUP_SCOPE_{step.get('scope', 'unspecified').upper()}")
        request = VerifyRequest(
            document=self._document(OTHER_NUMBER if step.get("of") == "somebody else" else NUMBER),
            evidence=map(self._paper, step.get("shown", ())),
            scope=scope,
            store_decision=step.get("store", False),
            **PLACE,  # type: ignore[arg-type]
        )
        if "for" in step:
            request.use_time.CopyFrom(to_timestamp(instant(step["for"])))
        decision = (await self._singles.verify(request)).decision
        found: dict[str, Any] = {
            "expect": pb.DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_"),
            "action": pb.GateAction.Name(decision.action).removeprefix("GATE_ACTION_"),
            "refusal": decision.refusal_permitted,
            "looked up": self._results.asked,
            "kept": bool(decision.name),
        }
        assert {key: value for key, value in found.items() if key in step} == {
            key: value for key, value in step.items() if key in found
        }
        for name, expected in {step["verify"]: step.get("flags"), **step.get("flags of", {})}.items():
            if decision.name and expected is not None:
                assert await self._flags_of(decision.name, name) == expected
        if decision.name:
            self._names[decision.name.removeprefix("decisions/")] = step["verify"]

    async def _flags_of(self, now: str, name: str) -> list[str]:
        """Return the flags of a decision: of the one that was just made, or of the stored one of this name."""
        uuid = self._uuid(name) if name in self._names.values() else now.removeprefix("decisions/")
        flags = await FlagStore(self._database).flags_of(uuid)
        return [
            EvidenceFlagKind.Name(kind).removeprefix("EVIDENCE_FLAG_KIND_") for flag in flags for kind in flag.kinds
        ]

    async def _refuse(self, step: dict[str, Any]) -> None:
        """Report a refusal. Check its decision and the stored statement against the step."""
        request = ReportRefusalRequest(
            document=None if step.get("of") == "nobody" else self._document(),
            refuse_time=to_timestamp(self._clock.now()),
            grounds=[refusal_ground_pb2.RefusalGround.Value(f"REFUSAL_GROUND_{one}") for one in step["grounds"]],
            statement=step.get("statement", ""),
            request_id=str(uuid.uuid4()),
            **PLACE,  # type: ignore[arg-type]
        )
        refusal = (await self._reporter.report(request)).refusal
        assert refusal_pb2.RefusalAssessment.Name(refusal.assessment) == f"REFUSAL_ASSESSMENT_{step['expect']}"
        assert refusal.statement == step.get("stored", "")
        self._names[refusal.name.removeprefix("refusals/")] = step["refuse"]
        self._names[refusal.decision.removeprefix("decisions/")] = f"decision of {step['refuse']}"

    async def _purge(self, step: dict[str, Any]) -> None:
        """Purge with the ages of the default settings. Check the counts and the remaining rows against the step."""
        days = Settings.from_environment({})
        counts = (days.decisions_days, days.refusals_days, days.requests_days, days.shown_reports_days)
        ages = RetentionAges(*(count * DAY for count in counts))
        horizon, now = instant(step["purge"]), self._clock.now()
        purge = Purge(horizon, now, uuid7(), lambda names: self._find_removed(names, horizon))
        removed = await asyncio.to_thread(purge_verification, self._database, ages, purge)
        counts = {"decisions": removed.decisions, "refusals": removed.refusals, "requests": removed.requests}
        assert {kind: count for kind, count in counts.items() if count} == step["removed"]
        assert await self._database.read(self._left) == set(step["left"])

    def _find_removed(self, names: Collection[tuple[str, str]], horizon: Instant) -> set[tuple[str, str]]:
        """Return the named reports that Results removes at a horizon. Evidence may show false times of them."""
        old = {name for name, one in self._reports.items() if instant(one.get("reported", one["sampled"])) < horizon}
        return {(code, number) for code, number in names if number in old}

    def _left(self, connection: Any) -> set[str]:
        """Return the names of the decisions and refusals that are stored."""
        found = [uuid for table in (decisions, refusals) for uuid in connection.execute(select(table.c.uuid)).scalars()]
        return {self._names[one] for one in found}

    async def _replay(self, step: dict[str, Any]) -> None:
        """Replay a stored decision. "gone" says that it is not stored any more."""
        if step["expect"] == "gone":
            try:
                await replay(self._store, self._uuid(step["replay"]))
            except NotFound:
                return
            raise AssertionError("the decision is still stored")
        replayed = await replay(self._store, self._uuid(step["replay"]))
        assert ReplayComparison.Name(replayed.comparison) == f"REPLAY_COMPARISON_{step['expect']}"
        assert pb.DecisionReason.Name(replayed.decision.reason) == f"DECISION_REASON_{step['reason']}"
        if "version" in step:
            assert replayed.stored_rules_version == step["version"] != replayed.rules_version
        if "until" in step:
            assert from_timestamp(replayed.decision.expire_time) == instant(step["until"])

    async def _alter(self, step: dict[str, Any]) -> None:
        """Change a stored decision in the database: the version of its rules, or its reason."""
        key = decisions.c.uuid == self._uuid(step["alter"])

        def change(connection: Any) -> None:
            row = connection.execute(select(decisions.c.inputs, decisions.c.decision).where(key)).one()
            inputs, decision = pb.DecisionInputs.FromString(row.inputs), pb.Decision.FromString(row.decision)
            if "version" in step:
                inputs.rules_version = step["version"]
            if "reason" in step:
                decision.reason = pb.DecisionReason.Value(f"DECISION_REASON_{step['reason']}")
            blobs: dict[str, Message] = {"inputs": inputs, "decision": decision}
            encoded = {name: one.SerializeToString(deterministic=True) for name, one in blobs.items()}
            connection.execute(update(decisions).where(key).values(encoded))

        await self._database.write(change)

    def _uuid(self, name: str) -> str:
        return next(uuid for uuid, of in self._names.items() if of == name)

    def _document(self, number: str = NUMBER) -> identity_pb2.IdentityDocument:
        return identity_pb2.IdentityDocument(type=identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD, number=number)

    def _record(self, name: str) -> result_pb2.TestResult:
        sampled, reported, outcome = self._report(name)
        return make_record(name, sampled, reported, outcome)

    def _paper(self, shown: str | dict[str, str]) -> Any:
        """Return the evidence of a report. Its fields may be stated otherwise than the report has them."""
        told = {"report": shown} if isinstance(shown, str) else shown
        sampled, reported, outcome = self._report(told["report"], told)
        lab = {} if told.get("lab") != "" else {"lab": ""}
        return make_paper(told["report"], sampled, reported, outcome, **lab)

    def _report(self, name: str, told: Iterable[str] | dict[str, str] = ()) -> tuple[Instant, Instant | None, int]:
        report = self._reports[name] | dict(told)
        outcome = outcome_pb2.Outcome.Value(f"OUTCOME_{report.get('outcome', 'negative').upper()}")
        return instant(report["sampled"]), instant(report["reported"]) if "reported" in report else None, outcome
