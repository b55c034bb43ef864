"""Look-ups. Each is validated by itself. Look-ups that arrive at the same time share one read of the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest, BatchLookupColumnsResponse
from hutong.results.internal.v1.lookup_columns_pb2 import LookupColumns
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    BatchLookupLatestResponse,
    LookupLatestItem,
    LookupLatestRequest,
    LookupLatestResponse,
)
from hutong_texts import english

from services.domain.errors import HutongError, InvalidArgument, Violation
from services.domain.instant import Instant, set_timestamp
from services.domain.names import format_node
from services.domain.subject import Pepper
from services.results.labs.model import NOT_AUTHORIZED
from services.results.lookup.claims import find_claim, reports_to_find
from services.results.lookup.columns import fill_columns
from services.results.lookup.convert import (
    fill_claim,
    fill_not_asked,
    fill_source,
    subject_keys_from_proto,
    upload_report,
    with_mask,
)
from services.results.lookup.fitting import find_claimed, fitting
from services.results.lookup.model import LocalMatches, RemoteClaim, RemoteMatch
from services.results.lookup.nationwide import LookupResult, NationwideLookup, lost
from services.results.lookup.pick import LatestResults, pick_latest
from services.results.lookup.question import KeyedQuestion, PlainQuestion, Question, questions_from_keyed
from services.results.lookup.store import LookupStore
from services.results.missing_reports.model import NOT_OURS
from services.results.missing_reports.queue import MissingReportQueue
from services.results.records.convert import fill_result
from services.results.records.model import StoredResult
from services.runtime.call import current_caller, presenter_of
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.consistency import LogPosition, read_token
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.server.status import to_status
from services.runtime.server.validation import check_each
from services.storage.pepper_marks import marks_of, require_marks

if TYPE_CHECKING:
    from services.results.labs.model import Standing

MOST_LOOK_UPS = 500
"""The most look-ups of one call. The contract states it for each of the two forms, and this for both together."""


class LookupHandler:
    """Answers look-ups from this node's store, and nationwide look-ups also from the nation's store."""

    def __init__(
        self,
        store: LookupStore,
        pepper: Pepper,
        jurisdiction: str,
        clock: Clock,
        missing_reports: MissingReportQueue,
        nationwide: NationwideLookup,
    ) -> None:
        self._store = store
        self._missing_reports = missing_reports
        self._pepper = pepper
        self._marks = marks_of(pepper)
        self._jurisdiction = jurisdiction
        self._node = format_node(jurisdiction)
        self._clock = clock
        self._nationwide = nationwide
        self._coalescer: Coalescer[Question, LookupLatestResponse] = Coalescer(self._answer, name="look-up batch")

    async def look_up(self, request: LookupLatestRequest) -> LookupLatestResponse:
        """Answer one look-up, together with others that arrive at the same time."""
        question = Question(request, self._pepper, self._jurisdiction, presenter=presenter_of(current_caller()))
        if question.own_position is not None and await self._store.find_lost({question.own_position}):
            raise lost(self._node)
        if not question.nationwide:
            return await self._coalescer.ask(question)
        response = LookupLatestResponse()
        self._fill_nationwide(question, response, await self._nationwide.look_up(question.of_subject()))
        return response

    async def look_up_each(self, batch: BatchLookupLatestRequest) -> BatchLookupLatestResponse:
        """Answer several look-ups in order, from one read of the store.

        Each look-up gets its own answer or its own error.
        """
        response = BatchLookupLatestResponse()
        await self._answer_each(batch, response, None)
        return response

    async def look_up_columns(self, batch: BatchLookupColumnsRequest) -> BatchLookupColumnsResponse:
        """Answer as `look_up_each`, but put answers to local look-ups without claimed reports into columns.

        A document may state a name. If the name fits no result of the person, the answer is the same as for a person
        without results.
        """
        for keyed in batch.keyed:
            require_marks(keyed.pepper_marks, self._marks, self._node)
        questions = questions_from_keyed(batch.keyed)
        count = len(questions) + len(batch.requests)
        if not count:
            raise InvalidArgument.field("requests", english("value is required"))
        if count > MOST_LOOK_UPS:
            raise InvalidArgument.field("keyed", english("must have at most {most} items", most=MOST_LOOK_UPS))
        response = BatchLookupColumnsResponse()
        await self._answer_each(batch, response, response.columns, questions)
        return response

    async def _answer_each(
        self,
        batch: BatchLookupLatestRequest | BatchLookupColumnsRequest,
        response: BatchLookupLatestResponse | BatchLookupColumnsResponse,
        columns: LookupColumns | None,
        keyed: Sequence[KeyedQuestion] = (),
    ) -> None:
        """Fill an empty response.

        Answers to local look-ups without claimed reports go into `columns`, if given. Those to `keyed` come first.
        """
        lost_positions = await self._find_lost(batch.requests)
        keys, presenters = subject_keys_from_proto(batch), _presenters_of(batch)
        plain: list[PlainQuestion] = list(keyed)
        local: list[tuple[Question, LookupLatestItem]] = []
        nationwide: list[tuple[Question, LookupLatestItem]] = []
        item_indexes: list[int] = []
        compares_name = columns is not None
        faults = check_each(batch) if batch.requests else ()
        each = zip(batch.requests, faults, keys, presenters, strict=True)
        for index, (request, fault, key, presenter) in enumerate(each):
            try:
                if fault is not None and not (key[0] and {one.field for one in fault.violations} == {"document"}):
                    raise fault
                question = Question(
                    request, self._pepper, self._jurisdiction, key, compares_name=compares_name, presenter=presenter
                )
                if question.own_position in lost_positions:
                    raise lost(self._node)
            except HutongError as error:
                response.items.add().error.CopyFrom(to_status(error))
                item_indexes.append(index)
                continue
            if columns is not None and not question.nationwide and not question.claims:
                plain.append(question)
            else:
                (nationwide if question.nationwide else local).append((question, response.items.add()))
                item_indexes.append(index)
        await self._fill(plain, [question for question, _ in local], [item.response for _, item in local], columns)
        if columns is not None:
            columns.item_requests.extend(item_indexes)
        answers = await self._nationwide.look_up_each([question.of_subject() for question, _ in nationwide])
        for (question, item), answer in zip(nationwide, answers, strict=True):
            if isinstance(answer, HutongError):
                item.error.CopyFrom(to_status(answer))
            else:
                self._fill_nationwide(question, item.response, answer)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = english(
                "their answers have over {max_message_bytes} bytes; ask for fewer persons or results at once",
                max_message_bytes=MAX_MESSAGE_BYTES,
            )
            raise InvalidArgument(
                "BATCH_TOO_LARGE",
                english("{field}: {description}", field="requests", description=text),
                violations=[Violation("requests", "BATCH_TOO_LARGE", text)],
                metadata={"field": "requests", "limit": str(MAX_MESSAGE_BYTES)},
            )

    async def _find_lost(self, requests: Iterable[LookupLatestRequest]) -> Collection[LogPosition | None]:
        """Return the positions of this node's tokens whose commits a restore has lost."""
        commits = map(read_token, {one.at_least_as_fresh for one in requests if one.at_least_as_fresh})
        ours = ("results", self._jurisdiction)
        own = {commit.position for commit in commits if commit is not None and commit[:2] == ours}
        return await self._store.find_lost(own) if own else ()

    async def _answer(self, questions: list[Question]) -> list[LookupLatestResponse]:
        responses = [LookupLatestResponse() for _ in questions]
        await self._fill((), questions, responses, None)
        return responses

    async def _fill(
        self,
        plain: Sequence[PlainQuestion],
        questions: Sequence[Question],
        responses: Sequence[LookupLatestResponse],
        columns: LookupColumns | None,
    ) -> None:
        """Answer from this node's store.

        The answers to `plain` questions go into columns, the answers to the other questions into responses. Plain
        questions are local and without claims.
        """
        if not plain and not questions:
            return
        now = self._clock.now()
        reports, by_name = reports_to_find([claim for question in questions for claim in question.claims])
        asked = [*plain, *questions]
        keys = [question.subject_key for question in asked]
        items = sorted({item for question in asked for item in question.items})
        others = {question.subject_key: question.other_key for question in asked}
        seen = {question.own_position for question in asked if question.own_position is not None}
        matches = await self._store.find_subjects(keys, reports, now, items, by_name, others, may_lag_behind=seen)
        complete_to = now - matches.age

        def standing_of(result: StoredResult) -> Standing:
            return matches.standing_at(result.lab, result.reference_time)

        if columns is not None and plain:
            fill_source(columns.sources.add(), self._node, complete_to, matches.horizon)
            if any(question.leaves_out_nation for question in plain):
                fill_not_asked(columns.sources.add())
            latest = [
                self._pick(question, fitting(question.name_hashes, results)[0], standing_of)
                for question, results in zip(plain, matches.by_subject, strict=False)
            ]
            fill_columns(columns, latest, standing_of)
        rest = slice(len(plain), None)
        found = zip(questions, responses, matches.by_subject[rest], matches.subjects[rest], strict=True)
        for question, response, all_results, all_keys in found:
            claimed = find_claimed(question.claims, matches) if question.name_hashes else ()
            results, subject_keys = fitting(question.name_hashes, all_results, all_keys, claimed)
            self._fill_latest(question, response, results, standing_of)
            fill_source(response.sources.add(), self._node, complete_to, matches.horizon)
            if question.leaves_out_nation:
                fill_not_asked(response.sources.add())
            own = [RemoteMatch(result, standing_of(result)) for result in results] if question.claims else []
            self._fill_claims(question, response, subject_keys, matches, (), own, now)

    def _fill_nationwide(self, question: Question, response: LookupLatestResponse, answer: LookupResult) -> None:
        """Answer a nationwide question."""
        results = [one.result for one in answer.results]
        claimed = find_claimed(question.claims, answer.found.matches, answer.claims) if question.name_hashes else ()
        stored, keys = fitting(question.name_hashes, results, answer.keys, claimed)
        standings = {(one.result.lab, one.result.report_number): one.standing for one in answer.results}
        self._fill_latest(
            question,
            response,
            [with_mask(result, question.keys, question.masked_number) for result in stored],
            lambda result: standings[result.lab, result.report_number],
        )
        response.sources.extend(answer.sources)
        own_results = answer.results if stored else ()
        self._fill_claims(question, response, keys, answer.found.matches, answer.claims, own_results, answer.found.time)

    def _fill_latest(
        self,
        question: Question,
        response: LookupLatestResponse,
        results: Sequence[StoredResult],
        standing_of: Callable[[StoredResult], Standing],
    ) -> None:
        latest = self._pick(question, results, standing_of)
        for result in latest.in_region:
            fill_result(response.in_region.add(), result, standing_of(result))
        for result in latest.out_of_region:
            fill_result(response.out_of_region.add(), result, standing_of(result))

    def _pick(
        self, question: PlainQuestion, results: Sequence[StoredResult], standing_of: Callable[[StoredResult], Standing]
    ) -> LatestResults:
        # Look-ups that share a read get the results of all items that any of them asks for.
        wanted = [result for result in results if result.item in question.items]
        return pick_latest(
            wanted, self._jurisdiction, question.limit, lambda result: standing_of(result) not in NOT_AUTHORIZED
        )

    def _fill_claims(
        self,
        question: Question,
        response: LookupLatestResponse,
        keys: Sequence[bytes],
        matches: LocalMatches,
        nationwide: Sequence[RemoteClaim],
        own_results: Sequence[RemoteMatch],
        now: Instant,
    ) -> None:
        """Answer claimed reports from this node's records and from those that the nation returned, if it was asked."""
        wanted = [match for match in own_results if match.result.item in question.items] if question.claims else ()
        for claim, remote in zip_longest(question.claims, nationwide):
            found = find_claim(claim, matches, remote, wanted, keys, now)
            message = response.claims.add()
            if fill_claim(message, found, question.items, question.keys, question.masked_number):
                continue
            report_time = claim.report_time
            if matches.horizon is not None and report_time is not None and report_time < matches.horizon:
                # The report is not stored as missing, because an upload of a report before the horizon would be
                # refused.
                set_timestamp(message.retention_start_time, matches.horizon)
            elif found.answer is None or found.answer.answer != NOT_OURS:
                response.next_steps.append(upload_report((found.lab, claim.report_number), now))
                self._missing_reports.remember(found.lab, claim.report_number, report_time, now, question.presenter)


def _presenters_of(batch: BatchLookupLatestRequest | BatchLookupColumnsRequest) -> Sequence[str]:
    """Return who shows the reports of each request: the caller, or whom this node's Verification names."""
    count = len(batch.requests)
    if not isinstance(batch, BatchLookupColumnsRequest):
        return [presenter_of(current_caller())] * count
    if batch.presenters and len(batch.presenters) != count:
        raise InvalidArgument.field("presenters", english("must have one entry for each request"))
    return batch.presenters or [""] * count
