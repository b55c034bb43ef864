"""Nationwide look-ups. This node's store and the nation are asked at the same time, and the answers are merged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hutong.results.v1.lookup_pb2 import DataSource
from hutong_texts import english

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import Instant
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.lookup.claims import reports_to_find
from services.results.lookup.convert import fill_source
from services.results.lookup.merge import absent_sources, condense_sources, merge_results, select_late
from services.results.lookup.model import LocalMatches, RemoteClaim, RemoteMatch, SubjectAnswer, SubjectQuestion
from services.results.lookup.store import LookupStore
from services.results.records.model import StoredResult
from services.runtime.call import only_waiting
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition, read_token

if TYPE_CHECKING:
    from services.results.labs.model import Standing

_NATION = format_node(NATION)


class NationwideRecords(Protocol):
    """The records of subjects at the node above. That node also asks the nodes above it."""

    @property
    def node(self) -> str:
        """The name of the node above."""
        ...

    async def ask_each(self, questions: Sequence[SubjectQuestion]) -> Sequence[SubjectAnswer | Unavailable | None]:
        """Ask the nation, and return its answers in order. None stands for an answer that did not arrive in time.

        Unavailable stands in place of an answer if the nation did not meet the question's consistency token in time.
        """
        ...


class NodeFreshness(Protocol):
    """How complete this node's store is for each of the nodes below it."""

    async def sources(self) -> list[DataSource]:
        """Return this node and each node that replicates to it as sources. Call this before reading results."""
        ...

    def covers(self, region: str) -> bool:
        """Return whether a region is inside this node's region. This node's region itself does not count."""
        ...

    async def await_fresh(self, commits: Iterable[CommitPosition]) -> None:
        """Wait until this node has the commits. Raises Unavailable NOT_FRESH_ENOUGH if they do not arrive in time."""
        ...


class SubjectMatches(NamedTuple):
    """What this node's store has for one subject.

    Attributes:
        matches: the whole read, with the standing of laboratories and the claimed reports.
        results: the subject's results, newest report first.
        keys: the keys of all of its documents.
        time: the instant of the read.
    """

    matches: LocalMatches
    results: Sequence[StoredResult]
    keys: Sequence[bytes]
    time: Instant


class LookupResult(NamedTuple):
    """The merged answer about one subject.

    Attributes:
        found: what this node's store has.
        results: results of this node and the node above, newest report first, each with its laboratory's standing.
        keys: the keys of all of the subject's documents, linked here or at the nation.
        claims: the answers of the node above about the claimed reports, in order; empty if it did not answer.
        sources: the sources that were asked, this node first.
    """

    found: SubjectMatches
    results: Sequence[RemoteMatch]
    keys: Sequence[bytes]
    claims: Sequence[RemoteClaim]
    sources: Sequence[DataSource]


class NationwideLookup:
    """Looks up subjects here and at the node above.

    `nation` is None at the nation and at a node without an upstream.
    """

    def __init__(
        self,
        store: LookupStore,
        jurisdiction: str,
        clock: Clock,
        freshness: NodeFreshness,
        nation: NationwideRecords | None,
    ) -> None:
        self._store = store
        self._jurisdiction = jurisdiction
        self._clock = clock
        self._freshness = freshness
        self._nation = nation
        # Questions share the read of this store only. Each caller waits for the nation until its own deadline.
        self._reads: Coalescer[SubjectQuestion, SubjectMatches] = Coalescer(self._read, name="nationwide read batch")

    async def look_up(self, question: SubjectQuestion) -> LookupResult:
        """Look up one subject. Look-ups at the same time share one read of this node's store.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, the nation did not meet the question's token in time.
        """
        (result,) = await self._look_up(
            [question], lambda questions: asyncio.gather(*(self._reads.ask(each) for each in questions))
        )
        if isinstance(result, HutongError):
            raise result
        return result

    async def look_up_each(self, questions: Sequence[SubjectQuestion]) -> Sequence[LookupResult | HutongError]:
        """Look up several subjects in order, with a read of their own. An error stands in place of the result."""
        return await self._look_up(questions, self._read) if questions else ()

    async def _look_up(
        self,
        questions: Sequence[SubjectQuestion],
        read: Callable[[list[SubjectQuestion]], Awaitable[list[SubjectMatches]]],
    ) -> list[LookupResult | HutongError]:
        asking = asyncio.ensure_future(self._ask_nation(questions))
        try:
            if self._jurisdiction == NATION:
                # At the nation, `asking` ends once the store meets the tokens. The store may be read only then.
                await asking
            below = await self._await_below(questions)
            found = await read(list(questions))
            with only_waiting():
                answers = await asking
        finally:
            asking.cancel()
        answers = [late or answer for late, answer in zip(below, answers, strict=True)]
        if self._nation is not None:
            answers = await self._ask_linked(self._nation, questions, found, answers)
        remote_keys = sorted(
            {
                key
                for answer, one in zip(answers, found, strict=True)
                if isinstance(answer, SubjectAnswer)
                for key in answer.subject_keys
                if key not in one.keys
            }
        )
        # This store may have further results under documents that only the nation has linked to a subject.
        linked = (
            await self._store.find_subjects(remote_keys, [], self._clock.now(), all_items(questions))
            if remote_keys
            else None
        )
        sources = () if self._jurisdiction == NATION else (await self._freshness.sources())[1:]
        return [
            self._combine(question, one, answer, linked, remote_keys, sources)
            for question, one, answer in zip(questions, found, answers, strict=True)
        ]

    async def _read(self, questions: list[SubjectQuestion]) -> list[SubjectMatches]:
        """Read this node's store once for all questions."""
        now = self._clock.now()
        reports, by_name = reports_to_find([claim for question in questions for claim in question.claims])
        keys = [question.subject_key for question in questions]
        others = {question.subject_key: question.other_key for question in questions}
        matches = await self._store.find_subjects(keys, reports, now, all_items(questions), by_name, others)
        pairs = zip(matches.by_subject, matches.subjects, strict=True)
        return [SubjectMatches(matches, results, keys, now) for results, keys in pairs]

    async def _ask_nation(self, questions: Sequence[SubjectQuestion]) -> Sequence[SubjectAnswer | HutongError | None]:
        """Ask the nation. At the nation itself the answers contain only its sources."""
        if self._jurisdiction == NATION:
            tokens = list({question.token for question in questions})
            outcomes = dict(zip(tokens, await asyncio.gather(*map(self._await_fresh, tokens)), strict=True))
            here = SubjectAnswer((), (), (), await self._freshness.sources())
            return [outcomes[question.token] or here for question in questions]
        if self._nation is None:
            return [None] * len(questions)
        return await self._nation.ask_each([self._without_own(question) for question in questions])

    def _is_below(self, question: SubjectQuestion) -> bool:
        """Return whether the question's token is of a node below this one.

        If so, this node itself waits for the commit of the token.
        """
        commit = read_token(question.token) if question.token and self._jurisdiction != NATION else None
        return commit is not None and self._freshness.covers(commit.region)

    def _without_own(self, question: SubjectQuestion) -> SubjectQuestion:
        return question._replace(token="") if self._is_below(question) else question

    async def _await_below(self, questions: Sequence[SubjectQuestion]) -> list[Unavailable | None]:
        """Wait until this store has the commits that tokens of nodes below name. Return the errors, in order."""
        tokens = list({question.token for question in questions if self._is_below(question)})
        outcomes = dict(zip(tokens, await asyncio.gather(*map(self._await_fresh, tokens)), strict=True))
        return [outcomes.get(question.token) for question in questions]

    async def _await_fresh(self, token: str) -> Unavailable | None:
        """Wait until this store has the commit of a token. Return the caller's error if the commit comes too late."""
        commit = read_token(token)
        try:
            await self._freshness.await_fresh(() if commit is None else (commit,))
        except Unavailable as error:
            if error.reason != "NOT_FRESH_ENOUGH":
                raise
            return error
        return None

    @staticmethod
    async def _ask_linked(
        nation: NationwideRecords,
        questions: Sequence[SubjectQuestion],
        found: Sequence[SubjectMatches],
        answers: Sequence[SubjectAnswer | HutongError | None],
    ) -> Sequence[SubjectAnswer | HutongError | None]:
        """Ask the nation again about documents that only this node has linked.

        Their links are still being replicated.
        """
        missing = [
            (index, key)
            for index, (one, answer) in enumerate(zip(found, answers, strict=True))
            if isinstance(answer, SubjectAnswer)
            for key in one.keys
            if key not in answer.subject_keys
        ]
        if not missing:
            return answers
        more = await nation.ask_each(
            [SubjectQuestion(key, questions[index].limit, items=questions[index].items) for index, key in missing]
        )
        completed = list(answers)
        for (index, _), answer in zip(missing, more, strict=True):
            so_far = completed[index]
            if isinstance(so_far, SubjectAnswer):
                # Without the second answer the first answer is incomplete, and therefore counts as no answer.
                completed[index] = _extended(so_far, answer) if isinstance(answer, SubjectAnswer) else None
        return completed

    def _combine(
        self,
        question: SubjectQuestion,
        found: SubjectMatches,
        answer: SubjectAnswer | HutongError | None,
        linked: LocalMatches | None,
        remote_keys: Sequence[bytes],
        below: Sequence[DataSource],
    ) -> LookupResult | HutongError:
        """Merge this node's and the nation's answers.

        `remote_keys` are the keys of documents that only the nation has linked to a subject. `linked` is what this
        node's store has for these documents; None if there are no such documents. `below` lists the nodes below this
        one as sources.
        """
        if isinstance(answer, HutongError):
            return answer
        if answer is None and self._without_own(question).token:
            return not_fresh(_NATION if self._nation is None else self._nation.node)
        keys = list(found.keys)
        results = list(found.results)
        if answer is not None and linked is not None:
            for key, more_results, more_keys in zip(remote_keys, linked.by_subject, linked.subjects, strict=True):
                if key in answer.subject_keys:
                    results.extend(more_results)
                    keys.extend(more_keys)

        def standing_of(result: StoredResult) -> Standing:
            here = found.matches.standing_at(result.lab, result.reference_time)
            return here if here or linked is None else linked.standing_at(result.lab, result.reference_time)

        return LookupResult(
            found,
            merge_results(results, standing_of, answer.results if answer else ()),
            [*keys, *(answer.subject_keys if answer else ())],
            answer.claims if answer else (),
            self._sources(found, answer, below),
        )

    def _sources(
        self, found: SubjectMatches, answer: SubjectAnswer | None, below: Sequence[DataSource]
    ) -> list[DataSource]:
        own = DataSource()
        fill_source(own, format_node(self._jurisdiction), found.time, found.matches.horizon)
        if self._jurisdiction == NATION and answer is not None:
            sources = condense_sources(answer.sources, own.node)
            if own.HasField("retention_start_time"):
                sources[0].retention_start_time.CopyFrom(own.retention_start_time)
            return sources
        # This node knows better than the nodes above how far behind the nodes below it are.
        late = select_late(below, found.time)
        if answer is not None:
            return [own, *late, *condense_sources(answer.sources, own.node)]
        return [own, *late, *absent_sources(None if self._nation is None else self._nation.node)]


def all_items(questions: Iterable[SubjectQuestion]) -> list[str]:
    """Return all items that the questions ask for, because one read answers all questions."""
    return sorted({item for question in questions for item in question.items})


def not_fresh(node: str) -> Unavailable:
    """Return the error for a token that a node does not meet."""
    return Unavailable(
        "NOT_FRESH_ENOUGH", english("what the token stands for has not been seen in time"), metadata={"node": node}
    )


def lost(node: str) -> Unavailable:
    """Return the error for a token whose commit was lost when its node was restored from an older copy."""
    text = english("a restore from an older copy has lost what the token stands for")
    return Unavailable("NOT_FRESH_ENOUGH", text, metadata={"node": node, "lost": "true"}, retry_after=None)


def _extended(answer: SubjectAnswer, more: SubjectAnswer) -> SubjectAnswer:
    return answer._replace(
        results=[*answer.results, *more.results], subject_keys=[*answer.subject_keys, *more.subject_keys]
    )
