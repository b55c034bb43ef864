"""LookupSubjects: what this node and the nodes above it know about subjects, by their keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

from hutong.exchange.v1.exchange_service_pb2 import ClaimedReportRecord, LookupSubjectsRequest, LookupSubjectsResponse
from hutong.exchange.v1.replica_pb2 import ReplicatedResult
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_UNAVAILABLE, DataSource
from hutong.type.v1.outcome_pb2 import OUTCOME_UNSPECIFIED
from hutong_texts import english

from services.domain.errors import HutongError, InvalidArgument
from services.domain.instant import Instant, set_timestamp
from services.domain.names import DEFAULT_ITEM, format_lab, parse_items, parse_node
from services.domain.subject import Pepper
from services.results.exchange.convert.results import fill_replica
from services.results.exchange.downstream.freshness import NodeRegistry
from services.results.exchange.model import Replica
from services.results.labs.convert import key_to_proto
from services.results.labs.model import NOT_AUTHORIZED, STANDING_UNKNOWN, merge_keys
from services.results.labs.queries import MAX_OF_ONE_NAME
from services.results.lookup.claims import reports_to_find
from services.results.lookup.convert import claims_from_proto
from services.results.lookup.merge import stricter
from services.results.lookup.model import LocalMatches, RemoteClaim, RemoteMatch, ReportClaim, SubjectQuestion
from services.results.lookup.nationwide import LookupResult, NationwideLookup
from services.results.lookup.pick import DEFAULT_LIMIT, pick_latest
from services.results.lookup.store import LookupStore
from services.results.missing_reports.convert import fill_answer
from services.results.missing_reports.model import newer_answer
from services.results.records.model import StoredResult
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition, decode_token
from services.runtime.limits import MAX_MESSAGE_BYTES


class _Found(NamedTuple):
    """What was found for a request.

    Attributes: matches: what this node's store has. subjects: for each subject its results, each with its laboratory's
    standing, and the keys of its documents. claims: the answers of the node above about the claimed reports, in order;
    empty if the node above did not answer. sources: the sources that were asked above this node.
    """

    matches: LocalMatches
    subjects: Sequence[tuple[Sequence[RemoteMatch], Sequence[bytes]]]
    claims: Sequence[RemoteClaim] = ()
    sources: Sequence[DataSource] = ()


class SubjectLookup:
    """Answers look-ups of nodes below from this node's store, and from the answer of the node above."""

    def __init__(
        self,
        store: LookupStore,
        nodes: NodeRegistry,
        pepper: Pepper,
        clock: Clock,
        above: NationwideLookup | None = None,
    ) -> None:
        self._above = above
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
        tokens = _tokens(request)
        here = [commit for commit in tokens.values() if self._above is None or self._nodes.is_here(commit.region)]
        await self._nodes.await_fresh(here)
        response = LookupSubjectsResponse(sources=await self._nodes.sources())
        now = self._clock.now()
        items = parse_items(request.items, "items") or (DEFAULT_ITEM,)
        if self._above is None:
            found = await self._find(request, claims, items, now)
        else:
            elsewhere = [text for text, commit in tokens.items() if commit not in here]
            found = await self._find_above(self._above, request, claims, items, elsewhere)
        response.sources.extend(found.sources)
        matches = found.matches
        if matches.horizon is not None:
            set_timestamp(response.sources[0].retention_start_time, matches.horizon)
        # All subjects share one set of report numbers, because few results have a number that a claim of another
        # subject names.
        numbers = {claim.report_number for claim in claims if not claim.lab}
        limit = request.limit or DEFAULT_LIMIT
        for results, keys in found.subjects:
            subject = response.subjects.add(subject_keys=keys)
            for match in self._pick(results, region, limit, numbers):
                self._fill(subject.results.add(), match.result)
                subject.lab_standings.append(match.standing)
        for claim, remote in zip_longest(claims, found.claims):
            self._fill_claim(response.claims.add(), claim, matches, remote, items, now)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = english(
                "what is known of them has over {max_message_bytes} bytes; ask for fewer persons or results",
                max_message_bytes=MAX_MESSAGE_BYTES,
            )
            raise InvalidArgument.field("subject_keys", text, "BATCH_TOO_LARGE")
        return response

    async def _find(
        self, request: LookupSubjectsRequest, claims: Sequence[ReportClaim], items: Sequence[str], now: Instant
    ) -> _Found:
        """Return what this node's store has."""
        reports, by_name = reports_to_find(claims)
        found = await self._store.find_subjects(
            list(request.subject_keys), reports, now, items, by_name, _other_keys(request)
        )
        matches = _without_others_names(found)
        subjects = [
            (
                [RemoteMatch(one, matches.standing_at(one.lab, one.reference_time)) for one in results],
                keys,
            )
            for results, keys in zip(matches.by_subject, matches.subjects, strict=True)
        ]
        return _Found(matches, subjects)

    async def _find_above(
        self,
        above: NationwideLookup,
        request: LookupSubjectsRequest,
        claims: Sequence[ReportClaim],
        items: tuple[str, ...],
        tokens: Sequence[str],
    ) -> _Found:
        """Return what this node's store and the node above have.

        The question for the first subject has all claims and one token.
        """
        others = _other_keys(request)
        limit = request.limit or DEFAULT_LIMIT
        questions = [SubjectQuestion(key, limit, (), "", items, others.get(key)) for key in request.subject_keys]
        first = questions[0]._replace(claims=tuple(claims), token=tokens[0] if tokens else "")
        # The node above must satisfy each token. A question can have one token, so each further token is sent in
        # another question.
        more = [questions[0]._replace(token=token) for token in tokens[1:]]
        found: list[LookupResult] = []
        for answer in await above.look_up_each([first, *questions[1:], *more]):
            if isinstance(answer, HutongError):
                raise answer
            found.append(answer)
        asked = found[: len(questions)]
        sources = max(
            (self._nodes.select_above(one.sources) for one in found),
            key=lambda some: sum(one.state == SOURCE_STATE_UNAVAILABLE for one in some),
        )
        matches = _without_others_names(asked[0].found.matches)
        return _Found(
            matches, [(one.results, list(dict.fromkeys(one.keys))) for one in asked], asked[0].claims, sources
        )

    def _pick(
        self, matches: Sequence[RemoteMatch], region: str, limit: int, numbers: Collection[str]
    ) -> list[RemoteMatch]:
        by_name = {(match.result.lab, match.result.report_number): match for match in matches}

        def match_of(result: StoredResult) -> RemoteMatch:
            return by_name[result.lab, result.report_number]

        results = [match.result for match in matches]
        latest = pick_latest(results, region, limit, lambda result: match_of(result).standing not in NOT_AUTHORIZED)
        picked = [*latest.in_region, *latest.out_of_region]
        if numbers:
            picked += [result for result in results if result.report_number in numbers and result not in picked]
        return [match_of(result) for result in sorted(picked, key=lambda one: one.reference_time, reverse=True)]

    def _fill(self, message: ReplicatedResult, result: StoredResult) -> None:
        fill_replica(message, Replica(result, self._pepper.version, b"", b""))

    def _fill_claim(
        self,
        message: ClaimedReportRecord,
        claim: ReportClaim,
        matches: LocalMatches,
        remote: RemoteClaim | None,
        items: Collection[str],
        now: Instant,
    ) -> None:
        """Write what is known of a claim into an empty message.

        The answer is written for the claim's laboratory, or for each laboratory that has the claimed name. `remote` is
        the answer of the node above.
        """
        if claim.lab:
            self._fill_claim_of(message, claim.lab, claim, matches, remote, items, now)
            return
        answers: dict[str, RemoteClaim | None] = dict.fromkeys(matches.labs_by_name.get(claim.normal_name, ()))
        answers.update(remote.by_lab if remote is not None else ())
        for lab in sorted(answers)[:MAX_OF_ONE_NAME]:
            of_lab = message.by_lab.add(lab=format_lab(lab))
            self._fill_claim_of(of_lab, lab, claim, matches, answers[lab], items, now)

    def _fill_claim_of(
        self,
        message: ClaimedReportRecord,
        lab: str,
        claim: ReportClaim,
        matches: LocalMatches,
        remote: RemoteClaim | None,
        items: Collection[str],
        now: Instant,
    ) -> None:
        message.lab_standing = matches.standing_at(lab, now if claim.report_time is None else claim.report_time)
        message.lab_region = matches.region_of(lab)
        keys = matches.signing_keys_of(lab)
        result = matches.by_report.get((lab, claim.report_number))
        answer = matches.answers.get((lab, claim.report_number))
        standing = STANDING_UNKNOWN
        if remote is not None:
            message.lab_standing = stricter(message.lab_standing, remote.standing)
            message.lab_region = message.lab_region or remote.region
            keys = merge_keys(keys, remote.signing_keys)
            answer = newer_answer(answer, remote.answer)
            if remote.found is not None:
                standing = remote.found.standing
                result = max((one for one in (result, remote.found.result) if one), key=lambda one: one.revision)
        if claim.with_signing_keys and claim.lab:
            message.signing_keys.extend(map(key_to_proto, keys))
        if result is not None:
            self._fill(message.result, result if result.item in items else _without_content(result))
            message.record_lab_standing = stricter(matches.standing_at(lab, result.reference_time), standing)
        elif answer is not None:
            fill_answer(message.lab_answer, answer)


def _tokens(request: LookupSubjectsRequest) -> dict[str, CommitPosition]:
    """Return the tokens of Results, each with the commit that it names."""
    tokens = {}
    for index, text in enumerate(request.at_least_as_fresh):
        token = decode_token(text, f"at_least_as_fresh[{index}]")
        if token is not None and token.service == "results":
            tokens[text] = token
    return tokens


def _other_keys(request: LookupSubjectsRequest) -> dict[bytes, bytes | None]:
    """Return the key of each document under the other key version, if the document has one.

    Raises:
        InvalidArgument: the request has other keys, but their number differs from the number of documents.
    """
    others = request.other_subject_keys
    if others and len(others) != len(request.subject_keys):
        raise InvalidArgument.field(
            "other_subject_keys", english("must have one entry for each of subject_keys, or none")
        )
    pairs = zip(request.subject_keys, others, strict=False)
    return {key: other for key, other in pairs if key != other}


def _without_others_names(matches: LocalMatches) -> LocalMatches:
    """Return the matches. Claimed reports of subjects that were not requested have no hash of the name."""
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
