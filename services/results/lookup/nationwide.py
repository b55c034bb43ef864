"""What the whole country knows of persons: this node's store and the nation, asked at the same time, told as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    SOURCE_STATE_UNAVAILABLE,
    DataSource,
)

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import SECOND, Instant, Span, from_timestamp, set_timestamp
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.lookup.merge import merge_results
from services.results.lookup.model import LocalMatches, RemoteClaim, RemoteMatch, SubjectAnswer, SubjectQuestion
from services.results.lookup.store import LookupStore
from services.results.records.model import StoredResult
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.consistency import Freshness, read_token

if TYPE_CHECKING:
    from services.results.labs.model import Standing

_NATION = format_node(NATION)
LAGGING: Span = 10 * SECOND
"""A node further behind is spoken of by itself; of all others the nation's own instant says enough."""


class NationwideRecords(Protocol):
    """What the nation knows of subjects, asked from here."""

    async def ask_each(self, questions: Sequence[SubjectQuestion]) -> Sequence[SubjectAnswer | Unavailable | None]:
        """Answer questions in order: None for an answer that did not come in time.

        A question with a consistency token is answered with Unavailable where the nation does not meet it in time.
        """
        ...


class NodeFreshness(Protocol):
    """How complete this node's store is with respect to the nodes below it."""

    async def sources(self) -> list[DataSource]:
        """This node, and each that replicates to it, as sources. Asked before results are read."""
        ...

    async def await_fresh(self, tokens: Iterable[Freshness]) -> None:
        """Wait until what the tokens stand for is here. Unavailable NOT_FRESH_ENOUGH when it does not come in time."""
        ...


class Found(NamedTuple):
    """What this node's store knows of one person: results newest report first, all keys, and when it was read."""

    findings: LocalMatches
    results: Sequence[StoredResult]
    keys: Sequence[bytes]
    time: Instant


class Known(NamedTuple):
    """What the country knows of one person.

    Attributes:
        found: what is known here, in which the laboratories are looked up.
        results: from everywhere, newest report first, each with its laboratory's standing.
        keys: of all of the person's documents, known here or there.
        claims: what the nation knows of the claimed reports, in order; none when it did not answer.
        sources: who was asked, this node first.
    """

    found: Found
    results: Sequence[RemoteMatch]
    keys: Sequence[bytes]
    claims: Sequence[RemoteClaim]
    sources: Sequence[DataSource]


class NationwideLookup:
    """Asks everybody. `nation` is None at a node without one, and at the nation itself."""

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
        # Only the read of this store is shared: each asker waits for the nation by its own time.
        self._reads: Coalescer[SubjectQuestion, Found] = Coalescer(self._read)

    async def know(self, question: SubjectQuestion) -> Known:
        """What is known of one person, read here together with whoever else asks at the same time.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, the token's world has not come to the nation in time.
        """
        (known,) = await self._know(
            [question], lambda questions: asyncio.gather(*(self._reads.ask(each) for each in questions))
        )
        if isinstance(known, HutongError):
            raise known
        return known

    async def know_each(self, questions: Sequence[SubjectQuestion]) -> Sequence[Known | HutongError]:
        """The same for several, in order, in a read of their own."""
        return await self._know(questions, self._read) if questions else ()

    async def _know(
        self, questions: Sequence[SubjectQuestion], read: Callable[[list[SubjectQuestion]], Awaitable[list[Found]]]
    ) -> list[Known | HutongError]:
        asking = asyncio.ensure_future(self._ask_nation(questions))
        try:
            if self._jurisdiction == NATION:
                # Here the nation's answer is that its store is fresh: what is read must come after.
                await asking
            found = await read(list(questions))
            answers = await asking
        finally:
            asking.cancel()
        if self._nation is not None:
            answers = await self._ask_of_ties(self._nation, questions, found, answers)
        elsewhere = sorted(
            {
                key
                for answer, one in zip(answers, found, strict=True)
                if isinstance(answer, SubjectAnswer)
                for key in answer.subject_keys
                if key not in one.keys
            }
        )
        # Documents that only the nation knows to be a person's may have results here all the same.
        tied = await self._store.find_subjects(elsewhere, [], self._clock.now()) if elsewhere else None
        return [
            self._as_one(question, one, answer, tied, elsewhere)
            for question, one, answer in zip(questions, found, answers, strict=True)
        ]

    async def _read(self, questions: list[SubjectQuestion]) -> list[Found]:
        """What this node's store knows of each, in one read."""
        now = self._clock.now()
        reports = sorted({name for question in questions for name, _ in question.claims})
        findings = await self._store.find_subjects([question.subject_key for question in questions], reports, now)
        pairs = zip(findings.by_subject, findings.subjects, strict=True)
        return [Found(findings, results, keys, now) for results, keys in pairs]

    async def _ask_nation(self, questions: Sequence[SubjectQuestion]) -> Sequence[SubjectAnswer | HutongError | None]:
        """What the nation knows. At the nation itself that is nothing besides, and how complete its store is."""
        if self._jurisdiction == NATION:
            tokens = list({question.token for question in questions})
            outcomes = dict(zip(tokens, await asyncio.gather(*map(self._await_fresh, tokens)), strict=True))
            here = SubjectAnswer((), (), (), await self._freshness.sources())
            return [outcomes[question.token] or here for question in questions]
        if self._nation is None:
            return [None] * len(questions)
        return await self._nation.ask_each(questions)

    async def _await_fresh(self, token: str) -> Unavailable | None:
        """Wait until what a token stands for is here; its holder's error when it does not come."""
        freshness = read_token(token)
        try:
            await self._freshness.await_fresh(() if freshness is None else (freshness,))
        except Unavailable as error:
            if error.reason != "NOT_FRESH_ENOUGH":
                raise
            return error
        return None

    @staticmethod
    async def _ask_of_ties(
        nation: NationwideRecords,
        questions: Sequence[SubjectQuestion],
        found: Sequence[Found],
        answers: Sequence[SubjectAnswer | HutongError | None],
    ) -> Sequence[SubjectAnswer | HutongError | None]:
        """Ask once more, about documents that are known here alone to be a person's: their tie is still on its way."""
        untold = [
            (index, key)
            for index, (one, answer) in enumerate(zip(found, answers, strict=True))
            if isinstance(answer, SubjectAnswer)
            for key in one.keys
            if key not in answer.subject_keys
        ]
        if not untold:
            return answers
        more = await nation.ask_each([SubjectQuestion(key, questions[index].limit) for index, key in untold])
        completed = list(answers)
        for (index, _), answer in zip(untold, more, strict=True):
            so_far = completed[index]
            if isinstance(so_far, SubjectAnswer):
                # Half of an answer is none.
                completed[index] = _joined(so_far, answer) if isinstance(answer, SubjectAnswer) else None
        return completed

    def _as_one(
        self,
        question: SubjectQuestion,
        found: Found,
        answer: SubjectAnswer | HutongError | None,
        tied: LocalMatches | None,
        elsewhere: Sequence[bytes],
    ) -> Known | HutongError:
        """What was found of a person here, what the nation answered, and what is `tied` here to keys from there."""
        if isinstance(answer, HutongError):
            return answer
        if answer is None and question.token:
            return not_fresh(_NATION)
        keys = list(found.keys)
        results = list(found.results)
        if answer is not None and tied is not None:
            for key, theirs, their_keys in zip(elsewhere, tied.by_subject, tied.subjects, strict=True):
                if key in answer.subject_keys:
                    results.extend(theirs)
                    keys.extend(their_keys)

        def standing_of(result: StoredResult) -> Standing:
            here = found.findings.standing_at(result.lab, result.reference_time)
            return here if here or tied is None else tied.standing_at(result.lab, result.reference_time)

        return Known(
            found,
            merge_results(results, standing_of, answer.results if answer else ()),
            [*keys, *(answer.subject_keys if answer else ())],
            answer.claims if answer else (),
            self._sources(found, answer),
        )

    def _sources(self, found: Found, answer: SubjectAnswer | None) -> list[DataSource]:
        own = DataSource(node=format_node(self._jurisdiction), state=SOURCE_STATE_OK)
        set_timestamp(own.as_of_time, found.time)
        if answer is not None:
            told = condense_sources(answer.sources, own.node)
            return told if self._jurisdiction == NATION else [own, *told]
        state = SOURCE_STATE_NOT_CONFIGURED if self._nation is None else SOURCE_STATE_UNAVAILABLE
        return [own, DataSource(node=_NATION, state=state)]


def not_fresh(node: str) -> Unavailable:
    """The error for a token whose world a node does not see."""
    return Unavailable(
        "NOT_FRESH_ENOUGH", "what the token stands for has not been seen in time", metadata={"node": node}
    )


def _joined(answer: SubjectAnswer, more: SubjectAnswer) -> SubjectAnswer:
    return answer._replace(
        results=[*answer.results, *more.results], subject_keys=[*answer.subject_keys, *more.subject_keys]
    )


def condense_sources(sources: Sequence[DataSource], asking: str) -> list[DataSource]:
    """Of the nation's sources those that a look-up at a node tells, the nation first.

    The nation's answer is complete up to the least instant up to which any node that answers is known there. A node
    that is silent or lags is told of by itself, but for the asking one, which has its own results.
    """
    (nation, *others) = sources
    others = [source for source in others if source.node != asking]
    answering = [source for source in others if source.state == SOURCE_STATE_OK]
    now = from_timestamp(nation.as_of_time)
    complete = min([now, *(from_timestamp(source.as_of_time) for source in answering)])
    condensed = DataSource(node=nation.node, state=SOURCE_STATE_OK)
    set_timestamp(condensed.as_of_time, complete)
    late = [
        source
        for source in others
        if source.state != SOURCE_STATE_OK or from_timestamp(source.as_of_time) < now - LAGGING
    ]
    return [condensed, *late]
