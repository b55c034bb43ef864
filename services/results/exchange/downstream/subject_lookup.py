"""LookupSubjects: what the nation knows of subjects, by their keys."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.exchange.v1.exchange_service_pb2 import ClaimedReportRecord, LookupSubjectsRequest, LookupSubjectsResponse
from hutong.exchange.v1.replica_pb2 import ReplicatedResult

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, from_timestamp
from services.domain.names import DEFAULT_ITEM, parse_items, parse_lab, parse_node
from services.domain.subject import Pepper
from services.results.exchange.convert import fill_replica
from services.results.exchange.downstream.freshness import NodeRegistry
from services.results.exchange.model import Replica
from services.results.labs.model import NOT_AUTHORIZED
from services.results.lookup.model import LocalMatches
from services.results.lookup.pick import DEFAULT_LIMIT, pick_latest
from services.results.lookup.store import LookupStore
from services.results.records.model import ReportName, StoredResult
from services.runtime.clock import Clock
from services.runtime.consistency import Freshness, decode_token
from services.runtime.limits import MAX_MESSAGE_BYTES

Claimed = tuple[ReportName, Instant | None]
"""A claimed report with the report time on it, if known."""


class SubjectLookup:
    """Answers look-ups of other nodes from this node's store."""

    def __init__(self, store: LookupStore, nodes: NodeRegistry, pepper: Pepper, clock: Clock) -> None:
        self._store = store
        self._nodes = nodes
        self._pepper = pepper
        self._clock = clock

    async def look_up(self, request: LookupSubjectsRequest) -> LookupSubjectsResponse:
        """Answer for all keys with one read of the store, after waiting for what the request's tokens stand for.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, that did not arrive in time.
            InvalidArgument: BATCH_TOO_LARGE, the answer exceeds the size of a message; or a malformed field.
        """
        region = parse_node(request.node)
        claims: list[Claimed] = [
            (
                (parse_lab(claim.lab, f"claimed_reports[{index}].lab"), claim.report_number),
                from_timestamp(claim.report_time) if claim.HasField("report_time") else None,
            )
            for index, claim in enumerate(request.claimed_reports)
        ]
        await self._nodes.await_fresh(self._tokens(request))
        response = LookupSubjectsResponse(sources=await self._nodes.sources())
        now = self._clock.now()
        items = parse_items(request.items, "items") or (DEFAULT_ITEM,)
        reports = sorted({name for name, _ in claims})
        matches = await self._store.find_subjects(list(request.subject_keys), reports, now, items)
        limit = request.limit or DEFAULT_LIMIT
        for results, keys in zip(matches.by_subject, matches.subjects, strict=True):
            subject = response.subjects.add(subject_keys=keys)
            for result in self._pick(results, region, limit, matches):
                self._fill(subject.results.add(), result)
                subject.lab_standings.append(matches.standing_at(result.lab, result.reference_time))
        for name, report_time in claims:
            self._claim(name, report_time, matches, now, response.claims.add())
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = f"what is known of them has over {MAX_MESSAGE_BYTES} bytes; ask for fewer persons or results"
            raise InvalidArgument.field("subject_keys", text, "BATCH_TOO_LARGE")
        return response

    def _tokens(self, request: LookupSubjectsRequest) -> list[Freshness]:
        now = self._clock.now()
        tokens = []
        for index, text in enumerate(request.at_least_as_fresh):
            token = decode_token(text, now, f"at_least_as_fresh[{index}]")
            if token is not None and token.service == "results":
                tokens.append(token)
        return tokens

    def _pick(
        self, results: Sequence[StoredResult], region: str, limit: int, matches: LocalMatches
    ) -> list[StoredResult]:
        def may_report(result: StoredResult) -> bool:
            return matches.standing_at(result.lab, result.reference_time) not in NOT_AUTHORIZED

        latest = pick_latest(results, region, limit, may_report)
        return sorted(
            (*latest.in_region, *latest.out_of_region), key=lambda result: result.reference_time, reverse=True
        )

    def _fill(self, message: ReplicatedResult, result: StoredResult) -> None:
        fill_replica(message, Replica(result, self._pepper.version, b"", b""))

    def _claim(
        self,
        name: ReportName,
        report_time: Instant | None,
        matches: LocalMatches,
        now: Instant,
        claim: ClaimedReportRecord,
    ) -> None:
        lab, _ = name
        claim.lab_standing = matches.standing_at(lab, now if report_time is None else report_time)
        claim.lab_region = matches.region_of(lab)
        result = matches.by_report.get(name)
        if result is not None:
            self._fill(claim.result, result)
            claim.record_lab_standing = matches.standing_at(result.lab, result.reference_time)
