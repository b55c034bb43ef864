"""The coalescer: no question waits idly, every question is answered, and one fault affects no other question."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.call import Call, current_call, seconds_left
from services.runtime.client.coalescer import LINGER_SHARED, Coalescer
from tests.support.virtual_time import in_virtual_time, pass_time
from tests.support.waiting import TIMEOUT_SECONDS, turns, until


class Desk:
    """Answers n with n + 1000 when it is let; remembers its batches and how many were under way at once."""

    def __init__(self, *, opened: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        if opened:
            self.gate.set()

    async def __call__(self, questions: list[int]) -> Sequence[int | BaseException]:
        self.batches.append(questions)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            return [question + 1000 for question in questions]
        finally:
            self.under_way -= 1


class Receiver:
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.outcomes: list[object] = []

    def done(self) -> bool:
        """Whether it has received something."""
        return bool(self.outcomes)

    def set_result(self, result: int) -> None:
        """Receive an answer."""
        self.outcomes.append(result)

    def set_exception(self, exception: BaseException) -> None:
        """Receive an error."""
        self.outcomes.append(exception)


async def test_a_single_question_leaves_at_once() -> None:
    """An idle coalescer does not wait: the question is under way after one turn of the loop."""
    desk = Desk(opened=False)
    asker = Coalescer(desk).ask(1)
    await turns(2)
    assert desk.batches == [[1]]
    desk.gate.set()
    assert await asker == 1001


async def test_a_receiver_gets_its_answer_and_its_error() -> None:
    """Without a future. A receiver that wants no answer any more takes no place in a batch."""
    desk = Desk(opened=False)
    coalescer = Coalescer(desk, in_flight=1)
    got, unwanted = Receiver(), Receiver()
    unwanted.outcomes.append("cancelled")
    coalescer.ask_for(got, 1)
    coalescer.ask_for(unwanted, 2)
    other = coalescer.ask(3)
    desk.gate.set()
    assert await other == 1003
    assert desk.batches == [[1, 3]]
    assert (got.outcomes, unwanted.outcomes) == ([1001], ["cancelled"])

    async def fail(_: list[int]) -> Sequence[int]:
        raise ValueError("no answer")

    failed = Receiver()
    Coalescer(fail).ask_for(failed, 4)
    await until(failed.done)
    assert [type(outcome) for outcome in failed.outcomes] == [ValueError]


@in_virtual_time
async def test_a_question_waits_for_others_right_after_a_large_batch_and_not_after_a_pause() -> None:
    """The batch that has just returned shows the load. Once the load is over, no question waits."""
    longest = 0.25
    desk = Desk(opened=False)
    coalescer = Coalescer(desk, longest_linger_seconds=longest)

    async def load() -> None:
        desk.gate.clear()
        batch = asyncio.gather(*(coalescer.ask(number) for number in range(100)))
        await pass_time(longest / 2)
        desk.gate.set()
        await batch

    for _ in range(2):
        await load()
        first = coalescer.ask(1)
        await turns()
        later = coalescer.ask(2)
        assert [await first, await later] == [1001, 1002]
        assert desk.batches[-1] == [1, 2]
    await load()
    await pass_time(2 * longest)
    alone = coalescer.ask(3)
    await turns(2)
    assert desk.batches[-1] == [3]
    assert await alone == 1003


@in_virtual_time
async def test_a_pause_makes_later_questions_wait_for_each_other_only_under_load() -> None:
    """A pause makes one large batch. A process at half load then sends questions as soon as before the pause."""
    under_way, count = 0.004, 1_500

    async def time_taken(arriving_meanwhile: int) -> float:
        """Return the mean time of a question long after a pause, as a multiple of the time of a batch."""
        loop = asyncio.get_running_loop()
        taken: list[float] = []

        async def call(questions: list[int]) -> list[int]:
            await pass_time(under_way)
            return questions

        coalescer: Coalescer[int, int] = Coalescer(call)

        async def ask(number: int) -> None:
            begun = loop.time()
            await coalescer.ask(number)
            taken.append(loop.time() - begun)

        async with asyncio.TaskGroup() as group:
            for number in range(2 * LINGER_SHARED):
                group.create_task(ask(number))
            for number in range(count):
                await pass_time(under_way / arriving_meanwhile)
                group.create_task(ask(number))
        late = taken[count // 2 :]
        return sum(late) / len(late) / under_way

    assert await time_taken(7) < 1.6
    assert await time_taken(40) > 2.0


async def test_a_question_whose_time_is_over_is_answered_as_late() -> None:
    """The others of the batch still get the answers of the call, and a late answer is dropped."""
    desk = Desk(opened=False)
    late: list[int] = []

    def on_late(question: int) -> int:
        late.append(question)
        return -1

    coalescer = Coalescer(desk, on_late=on_late)
    hasty, patient = coalescer.ask(1, 0.0), coalescer.ask(2, TIMEOUT_SECONDS)
    assert await hasty == -1
    waiting = coalescer.ask(3, 0.0)
    assert await waiting == -1
    desk.gate.set()
    assert await patient == 1002
    await turns()
    assert desk.batches == [[1, 2]]
    assert late == [1, 3]


@in_virtual_time
async def test_an_answer_that_is_being_finished_is_never_late() -> None:
    """The deadline is that of the call. An answer that the call has given is waited for, so nothing is done twice."""
    gate = asyncio.Event()

    async def finish(answers: Sequence[int | BaseException]) -> Sequence[int | BaseException]:
        await gate.wait()
        return answers

    async def call(questions: list[int]) -> Sequence[int]:
        return questions

    coalescer = Coalescer(call, finish=finish, on_late=lambda _: -1)
    answer = coalescer.ask(1, 0.25)
    await pass_time(0.25)
    assert not answer.done()
    gate.set()
    assert await answer == 1


async def test_questions_of_one_turn_leave_together() -> None:
    """A hundred calls that arrive at once are one batch."""
    desk = Desk()
    coalescer = Coalescer(desk)
    assert await asyncio.gather(*(coalescer.ask(number) for number in range(100))) == list(range(1000, 1100))
    assert len(desk.batches) == 1


async def test_under_load_all_waiting_questions_leave_together() -> None:
    """While as many batches as allowed are under way, questions wait. There are never more batches at once."""
    desk = Desk(opened=False)
    coalescer = Coalescer(desk, in_flight=2)
    askers = []
    for number in range(10):
        askers.append(coalescer.ask(number))
        await turns()
    assert desk.batches == [[0], [1]]
    desk.gate.set()
    assert await asyncio.gather(*askers) == list(range(1000, 1010))
    assert desk.batches == [[0], [1], [2, 3, 4, 5, 6, 7, 8, 9]]
    assert desk.most_under_way == 2


async def test_a_batch_is_never_larger_than_allowed() -> None:
    """The rest goes with the next one."""
    desk = Desk()
    coalescer = Coalescer(desk, max_batch=4, in_flight=1)
    await asyncio.gather(*(coalescer.ask(number) for number in range(10)))
    assert [len(batch) for batch in desk.batches] == [4, 4, 2]
    assert desk.most_under_way == 1


async def test_a_poisoned_question_harms_its_asker_alone() -> None:
    """An answer that is an exception is raised to its caller."""

    async def call(questions: list[int]) -> list[int | BaseException]:
        return [KeyError("poison") if question == 3 else question for question in questions]

    coalescer: Coalescer[int, int] = Coalescer(call)
    answers = await asyncio.gather(*(coalescer.ask(number) for number in range(6)), return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, KeyError)] == [0, 1, 2, 4, 5]
    assert isinstance(answers[3], KeyError)


async def test_a_failing_call_fails_its_batch_and_no_other() -> None:
    """Each question of the batch gets the exception. The next batch is called as usual."""
    failures = [ConnectionError("down")]

    async def call(questions: list[int]) -> list[int]:
        if failures:
            raise failures.pop()
        return questions

    coalescer = Coalescer(call, in_flight=1)
    first = await asyncio.gather(*(coalescer.ask(number) for number in range(3)), return_exceptions=True)
    assert [type(answer) for answer in first] == [ConnectionError] * 3
    assert await asyncio.gather(*(coalescer.ask(number) for number in range(3))) == [0, 1, 2]


@pytest.mark.parametrize("surplus", [-1, 1])
async def test_answers_that_cannot_be_paired_fail_all_questions(surplus: int) -> None:
    """With an answer too few or too many, it is not known which answer belongs to which question.

    An error is then safer.
    """

    async def call(questions: list[int]) -> list[int]:
        return [0] * (len(questions) + surplus)

    coalescer = Coalescer(call)
    answers = await asyncio.gather(*(coalescer.ask(number) for number in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError] * 3


async def test_a_question_cancelled_while_waiting_is_not_asked() -> None:
    """The others of the batch still get their answers."""
    desk = Desk(opened=False)
    coalescer = Coalescer(desk, in_flight=1)
    first = coalescer.ask(0)
    await turns()
    gone, stays = coalescer.ask(1), coalescer.ask(2)
    gone.cancel()
    desk.gate.set()
    assert (await first, await stays) == (1000, 1002)
    assert desk.batches == [[0], [2]]


async def test_a_question_cancelled_under_way_leaves_the_others_their_answers() -> None:
    """His answer is dropped."""
    desk = Desk(opened=False)
    coalescer = Coalescer(desk)
    gone, stays = coalescer.ask(1), coalescer.ask(2)
    await turns()
    gone.cancel()
    desk.gate.set()
    assert await stays == 1002
    assert gone.cancelled()


async def test_when_all_waiting_questions_are_cancelled_nothing_is_asked() -> None:
    """An empty batch is never sent, and the coalescer still works."""
    desk = Desk(opened=False)
    coalescer = Coalescer(desk, in_flight=1)
    first = coalescer.ask(0)
    await turns()
    coalescer.ask(1).cancel()
    desk.gate.set()
    assert await first == 1000
    await turns()
    assert await coalescer.ask(2) == 1002
    assert desk.batches == [[0], [2]]


@in_virtual_time
async def test_a_batch_has_as_long_as_the_caller_that_waits_longest() -> None:
    """If one caller has no deadline, the batch has none. Each caller still has its own deadline."""
    seen: list[float] = []

    async def call(questions: list[int]) -> list[int]:
        seen.append(seconds_left(10.0))
        return questions

    coalescer = Coalescer(call, in_flight=1)

    async def ask(number: int, seconds: float | None) -> int:
        call_ = Call("late")
        call_.deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        current_call.set(call_)
        return await coalescer.ask(number)

    for waits in ([1.0, 5.0, 3.0], [1.0, None, 3.0], [-1.0]):
        asked = [asyncio.create_task(ask(*one)) for one in enumerate(waits)]
        assert await asyncio.gather(*asked) == list(range(len(waits)))
    assert seen == [pytest.approx(5.0, abs=0.1), 10.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    askers=st.integers(1, 120),
    max_batch=st.integers(1, 20),
    in_flight=st.integers(1, 4),
)
def test_no_question_is_ever_lost(seed: int, askers: int, max_batch: int, in_flight: int) -> None:
    """Callers come, leave and get errors in any order. Each gets its own answer or error, or has left."""
    dice = random.Random(seed)

    async def call(questions: list[int]) -> list[int | BaseException]:
        assert 0 < len(questions) <= max_batch
        await turns(dice.randrange(4))
        if dice.random() < 0.1:
            raise ConnectionError
        return [KeyError(question) if question % 7 == 0 else question * 2 for question in questions]

    fates: list[bool] = []

    async def play() -> None:
        coalescer: Coalescer[int, int] = Coalescer(call, max_batch=max_batch, in_flight=in_flight)

        async def ask(number: int) -> None:
            await turns(dice.randrange(6))
            future = coalescer.ask(number)
            if dice.random() < 0.2:
                asyncio.get_running_loop().call_soon(future.cancel)
            try:
                answer = await future
            except KeyError as error:
                fates.append(error.args == (number,))
            except ConnectionError:
                fates.append(True)
            except asyncio.CancelledError:
                fates.append(future.cancelled())
            else:
                fates.append(answer == number * 2)

        async with asyncio.timeout(TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
            for number in range(askers):
                group.create_task(ask(number))

    asyncio.run(play())
    assert fates == [True] * askers


async def test_a_batch_is_finished_while_the_next_is_under_way() -> None:
    """No question is answered before its batch is finished, and a batch that cannot be finished has the error."""
    desk = Desk()
    let = asyncio.Event()

    async def finish(answers: Sequence[int | BaseException]) -> Sequence[int | BaseException]:
        await let.wait()
        if 1003 in answers:
            raise RuntimeError("cannot be finished")
        return [answer for answer in answers if isinstance(answer, int)]

    coalescer = Coalescer(desk, finish=finish)
    asked = []
    for number in (1, 2, 3):
        asked.append(coalescer.ask(number))
        await turns()
    assert desk.batches == [[1], [2], [3]]
    assert not any(future.done() for future in asked)
    let.set()
    assert await asyncio.gather(*asked[:2]) == [1001, 1002]
    with pytest.raises(RuntimeError, match="cannot be finished"):
        await asked[2]


@pytest.mark.parametrize(("longest_share", "batches"), [(1e9, 1), (0.0, 2)], ids=["finished", "hanging"])
async def test_a_batch_waits_for_the_end_of_a_large_one_before_it(longest_share: float, batches: int) -> None:
    """Under load, batches that overlap are smaller. But an end that hangs does not stop the others for ever."""
    desk = Desk()
    let = asyncio.Event()

    async def finish(answers: Sequence[int | BaseException]) -> Sequence[int | BaseException]:
        await let.wait()
        return answers

    coalescer = Coalescer(desk, finish=finish, longest_linger_seconds=0.0, longest_finish_share=longest_share)
    many = [coalescer.ask(number) for number in range(LINGER_SHARED + 1)]
    await turns()
    last = coalescer.ask(50)
    await turns()
    if batches == 2:
        await until(lambda: len(desk.batches) == 2)
    assert len(desk.batches) == batches
    let.set()
    assert await asyncio.gather(*many, last) == [*range(1000, 1001 + LINGER_SHARED), 1050]
    assert len(desk.batches) == 2
