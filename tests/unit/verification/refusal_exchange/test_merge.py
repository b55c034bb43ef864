"""Nodes that exchange reports agree in the end, and a node below changes nothing of others."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hutong.verification.v1 import refusal_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import DAY, HOUR, Instant
from services.domain.region import within
from services.verification.refusal_exchange.merge import Standing, merge
from services.verification.refusals.routing import ANSWER_WITHIN, Links, Responsibility, may_answer, take_over
from services.verification.refusals.rules import Refusal
from tests.support.verification.refusals import make_refusal

NATION, JILIN, HENAN, ZHENGZHOU, PLACE = "000000", "220000", "410000", "410100", "410105"
LINKS = {
    NATION: Links(NATION, "", (JILIN, HENAN)),
    JILIN: Links(JILIN, NATION, (), True),
    HENAN: Links(HENAN, NATION, (ZHENGZHOU,), True),
    ZHENGZHOU: Links(ZHENGZHOU, HENAN, (), True),
}
NOW: Instant = 1_660_190_400_000_000
UUID = "01890000-0000-7000-8000-000000000001"


def new_report(origin: str, region: str = PLACE) -> Refusal:
    return make_refusal(
        NOW,
        uuid=UUID,
        region=region,
        origin_node=origin,
        responsible_node=origin if LINKS[origin].covers(region) else "",
        due_time=NOW + ANSWER_WITHIN,
    )


class Net:
    """The copies of one report at all nodes, and which node still has to send its copy to which."""

    def __init__(self, origin: str) -> None:
        self.copies: dict[str, Refusal] = {origin: new_report(origin)}
        self.waiting: set[tuple[str, str]] = set()
        self.now = NOW
        self.note(origin)

    def note(self, node: str, but: str = "") -> None:
        copy = self.copies[node]
        self.waiting |= {(node, to) for to in LINKS[node].concerned(copy.region, copy.origin_node) if to != but}

    def deliver(self, sender: str, receiver: str, *, is_kept: bool) -> None:
        """Send a copy. If it is kept, the acknowledgement was lost, so that the copy is sent again."""
        if not is_kept:
            self.waiting.discard((sender, receiver))
        done = merge(self.copies.get(receiver), self.copies[sender], sender, LINKS[receiver], self.now)
        assert done.standing is Standing.TAKEN
        assert done.refusal is not None
        self.copies[receiver] = done.refusal
        if done.is_changed:
            self.note(receiver, but=sender)
        if done.answers_sender:
            self.waiting.add((receiver, sender))

    def settle(self) -> None:
        for step in count():
            if not self.waiting:
                return
            assert step < 200, "the nodes send each other the same report for ever"
            self.deliver(*min(self.waiting), is_kept=False)

    def act(self, node: str, what: str) -> None:
        """Let a node that has the report do something with it, if it may."""
        copy = self.copies.get(node)
        if copy is None:
            return
        changed = copy
        if what == "assess" and copy.assess_time is None and LINKS[node].covers(PLACE) and node != NATION:
            changed = replace(
                copy, assessment=refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL, assess_node=node, assess_time=self.now
            )
        if what == "answer" and copy.answer_time is None and may_answer(LINKS[node], PLACE, copy.responsible_node):
            changed = replace(copy, answer=f"of {node}", answer_node=node, answer_time=self.now)
        if what == "escalate":
            self.now += ANSWER_WITHIN + HOUR
        if what == "escalate" and copy.answer_time is None:
            taken = take_over(LINKS[node], PLACE, copy.responsibility, self.now)
            changed = copy if taken is None else copy.with_responsibility(taken)
        if changed != copy:
            self.copies[node] = changed
            self.note(node)


ACTS = st.tuples(st.sampled_from([NATION, HENAN, ZHENGZHOU]), st.sampled_from(["assess", "answer", "escalate"]))
DELIVERIES = st.tuples(st.integers(0, 9), st.booleans())
ROUNDS = st.lists(st.tuples(st.lists(ACTS, max_size=5), st.lists(DELIVERIES, max_size=5)), max_size=6)


@given(st.sampled_from(sorted(LINKS)), st.booleans(), ROUNDS)
def test_nodes_agree_in_the_end(
    origin: str, spread: bool, rounds: list[tuple[list[tuple[str, str]], list[tuple[int, bool]]]]
) -> None:
    """Whatever happens in whatever order, with frames that come twice, all nodes have the same in the end."""
    net = Net(origin)
    if spread:
        net.settle()
    for acts, deliveries in rounds:
        for act in acts:
            net.act(*act)
        for chosen, is_kept in deliveries:
            if waiting := sorted(net.waiting):
                net.deliver(*waiting[chosen % len(waiting)], is_kept=is_kept)
    net.settle()
    assert set(net.copies) >= {NATION, HENAN, ZHENGZHOU, origin}
    parts = {
        (copy.assessment, copy.assess_node, copy.assess_time, copy.answer, copy.answer_node, copy.responsible_node)
        for copy in net.copies.values()
    }
    assert len(parts) == 1, parts


REGIONS = st.sampled_from([PLACE, "220502", "410302", "370202"])
NODES = st.sampled_from([NATION, JILIN, HENAN, ZHENGZHOU, "220500", ""])


@given(st.sampled_from([HENAN, ZHENGZHOU]), NODES, REGIONS, NODES, NODES, NODES, st.integers(0, 100))
def test_a_node_below_changes_nothing_of_others(
    true_origin: str, origin: str, region: str, assessor: str, answerer: str, responsible: str, escalations: int
) -> None:
    """Whatever Jilin sends of a report of Henan about Zhengzhou, the nation's copy stays as it was."""
    stored = replace(new_report(true_origin), responsible_node=ZHENGZHOU)
    lie = replace(
        stored,
        region=region,
        origin_node=origin,
        assess_node=assessor,
        assess_time=NOW if assessor else None,
        answer="lie" if answerer else "",
        answer_node=answerer,
        answer_time=NOW if answerer else None,
        responsible_node=responsible,
        escalation_count=escalations,
        duplicate_of="00000000-0000-7000-8000-000000000000",
        statement="lie",
    )
    done = merge(stored, lie, JILIN, LINKS[NATION], NOW)
    assert done.refusal in (None, stored)
    new = merge(None, lie, JILIN, LINKS[NATION], NOW)
    if not origin or not within(origin, JILIN):
        assert new.refusal is None
    elif not within(region, JILIN):
        assert new.refusal is not None
        assert (new.refusal.assess_time, new.refusal.answer_time) == (None, None)
        assert new.refusal.responsible_node == NATION
    else:
        assert new.refusal is not None
        stated = (new.refusal.assess_node, new.refusal.answer_node, new.refusal.responsible_node)
        assert all(within(node, JILIN) for node in stated if node not in ("", NATION))
        assert NATION not in stated[:2]
        assert new.refusal.escalation_count == 0 or within(new.refusal.responsible_node, JILIN)


def test_a_report_is_taken_over_one_node_at_a_time() -> None:
    """The node above the responsible one takes over at once, and one further above five days later."""
    city = Responsibility(ZHENGZHOU, NOW)
    later = NOW + HOUR
    assert take_over(LINKS[HENAN], PLACE, city, NOW) is None
    taken = take_over(LINKS[HENAN], PLACE, city, later)
    assert taken == Responsibility(HENAN, later + ANSWER_WITHIN, 1)
    assert take_over(LINKS[NATION], PLACE, city, later) is None
    assert take_over(LINKS[NATION], PLACE, city, later + 5 * DAY) is not None
    assert take_over(LINKS[JILIN], PLACE, city, later + 50 * DAY) is None
    assert take_over(LINKS[HENAN], PLACE, Responsibility(HENAN, NOW), later) is None
    assert take_over(LINKS[HENAN], PLACE, Responsibility(NATION, NOW, 2), later) is None
