"""LookupSubjects: what the nation knows about subjects, by their keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from hutong.exchange.v1.exchange_service_pb2 import ClaimedReportRecord, LookupSubjectsRequest, LookupSubjectsResponse
from hutong.exchange.v1.replica_pb2 import ReplicatedResult
from hutong.type.v1.outcome_pb2 import OUTCOME_UNSPECIFIED
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, set_timestamp
from services.domain.names import DEFAULT_ITEM, format_lab, parse_items, parse_node
from services.domain.subject import Pepper
from services.results.exchange.convert.results import fill_replica
from services.results.exchange.downstream.freshness import NodeRegistry
from services.results.exchange.model import Replica
from services.results.labs.convert import key_to_proto
from services.results.labs.model import NOT_AUTHORIZED
from services.results.lookup.claims import reports_to_find
from services.results.lookup.convert import claims_from_proto
from services.results.lookup.model import LocalMatches, ReportClaim
from services.results.lookup.pick import DEFAULT_LIMIT, pick_latest
from services.results.lookup.store import LookupStore
from services.results.records.model import StoredResult
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition, decode_token
from services.runtime.limits import MAX_MESSAGE_BYTES


class SubjectLookup:
    """Answers look-ups of other nodes from this node's store."""

    def __init__(self, store: LookupStore, nodes: NodeRegistry, pepper: Pepper, clock: Clock) -> None:
        self._store = store
        self._nodes = nodes
        self._pepper = pepper
        self._clock = clock

    async def look_up(self, request: LookupSubjectsRequest) -> LookupSubjectsResponse:
        """Return what is stored of all subjects and claimed reports of a request.

        The store is read once, after it has every commit that the request's tokens name.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, one of these commits did not arrive in time.
            InvalidArgument: BATCH_TOO_LARGE, the answer exceeds the size of a message; or a malformed field.
        """
        region = parse_node(request.node)
        claims = claims_from_proto(request.claimed_reports)
        await self._nodes.await_fresh(self._tokens(request))
        response = LookupSubjectsResponse(sources=await self._nodes.sources())
        now = self._clock.now()
        items = parse_items(request.items, "items") or (DEFAULT_ITEM,)
        reports, by_name = reports_to_find(claims)
        found = await self._store.find_subjects(
            list(request.subject_keys), reports, now, items, by_name, _other_keys(request)
        )
        matches = _without_others_names(found)
        if matches.horizon is not None:
            set_timestamp(response.sources[0].retention_start_time, matches.horizon)
        # All subjects share one set of numbers, because few results have the number of another subject's claim.
        numbers = {claim.report_number for claim in claims if not claim.lab}
        limit = request.limit or DEFAULT_LIMIT
        for results, keys in zip(matches.by_subject, matches.subjects, strict=True):
            subject = response.subjects.add(subject_keys=keys)
            for result in self._pick(results, region, limit, matches, numbers):
                self._fill(subject.results.add(), result)
                subject.lab_standings.append(matches.standing_at(result.lab, result.reference_time))
        for claim in claims:
            self._fill_claim(response.claims.add(), claim, matches, items, now)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = english(
                "what is known of them has over {max_message_bytes} bytes; ask for fewer persons or results",
                max_message_bytes=MAX_MESSAGE_BYTES,
            )
            raise InvalidArgument.field("subject_keys", text, "BATCH_TOO_LARGE")
        return response

    def _tokens(self, request: LookupSubjectsRequest) -> list[CommitPosition]:
        tokens = []
        for index, text in enumerate(request.at_least_as_fresh):
            token = decode_token(text, f"at_least_as_fresh[{index}]")
            if token is not None and token.service == "results":
                tokens.append(token)
        return tokens

    def _pick(
        self,
        results: Sequence[StoredResult],
        region: str,
        limit: int,
        matches: LocalMatches,
        numbers: Collection[str],
    ) -> list[StoredResult]:
        def may_report(result: StoredResult) -> bool:
            return matches.standing_at(result.lab, result.reference_time) not in NOT_AUTHORIZED

        latest = pick_latest(results, region, limit, may_report)
        picked = [*latest.in_region, *latest.out_of_region]
        if numbers:
            picked += [result for result in results if result.report_number in numbers and result not in picked]
        return sorted(picked, key=lambda result: result.reference_time, reverse=True)

    def _fill(self, message: ReplicatedResult, result: StoredResult) -> None:
        fill_replica(message, Replica(result, self._pepper.version, b"", b""))

    def _fill_claim(
        self,
        message: ClaimedReportRecord,
        claim: ReportClaim,
        matches: LocalMatches,
        items: Collection[str],
        now: Instant,
    ) -> None:
        """Write what is known of a claim into an empty message, for its laboratory or for each one with its name."""
        if claim.lab:
            self._fill_claim_of(message, claim.lab, claim, matches, items, now)
            return
        for lab in matches.labs_by_name.get(claim.normal_name, ()):
            of_lab = message.by_lab.add(lab=format_lab(lab))
            self._fill_claim_of(of_lab, lab, claim, matches, items, now)

    def _fill_claim_of(
        self,
        message: ClaimedReportRecord,
        lab: str,
        claim: ReportClaim,
        matches: LocalMatches,
        items: Collection[str],
        now: Instant,
    ) -> None:
        message.lab_standing = matches.standing_at(lab, now if claim.report_time is None else claim.report_time)
        message.lab_region = matches.region_of(lab)
        if claim.with_signing_keys and claim.lab:
            message.signing_keys.extend(map(key_to_proto, matches.signing_keys_of(lab)))
        result = matches.by_report.get((lab, claim.report_number))
        if result is not None:
            self._fill(message.result, result if result.item in items else _without_content(result))
            message.record_lab_standing = matches.standing_at(result.lab, result.reference_time)


def _other_keys(request: LookupSubjectsRequest) -> dict[bytes, bytes | None]:
    """Return the key of each document under the other key version, if the document has one.

    Raises:
        InvalidArgument: the request states other keys, but not exactly one for each document.
    """
    others = request.other_subject_keys
    if others and len(others) != len(request.subject_keys):
        raise InvalidArgument.field(
            "other_subject_keys", english("must have one entry for each of subject_keys, or none")
        )
    pairs = zip(request.subject_keys, others, strict=False)
    return {key: other for key, other in pairs if key != other}


def _without_others_names(matches: LocalMatches) -> LocalMatches:
    """Return the matches without the hashes of names in those claimed reports that are not of a requested subject."""
    subjects = {key for keys in matches.subjects for key in keys}
    by_report = {
        name: result if result.subject_key in subjects else result._replace(name_hash=b"")
        for name, result in matches.by_report.items()
    }
    return replace(matches, by_report=by_report)


def _without_content(result: StoredResult) -> StoredResult:
    """Return a result without its content. The asking node needs only the subject and the item.

    The instants that a replicated result must have are set to the reference time.
    """
    time = result.reference_time
    return result._replace(
        outcome=OUTCOME_UNSPECIFIED,
        tube_code="",
        sample_region="",
        sample_site="",
        sample_time=time,
        receive_time=None,
        test_time=None,
        report_time=time,
    )
