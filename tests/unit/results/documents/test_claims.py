"""Links of other nodes are claims: which of them count for a document."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.domain.region import NATION
from services.results.documents.claims import MAX_LINKED, Neighbour, find_documents

JILIN, HENAN, SHANDONG = "220000", "410000", "370000"
DOCUMENTS = [bytes([number]) * 16 for number in range(6)]
Link = tuple[bytes, bytes, str]
documents = st.sampled_from(DOCUMENTS)
links = st.lists(st.tuples(documents, documents, st.sampled_from(["", NATION, JILIN, HENAN])), max_size=12)
sources = st.dictionaries(documents, st.frozensets(st.sampled_from([JILIN, HENAN]), min_size=1))
P, Q, R = DOCUMENTS[:3]


def counted(start: bytes, some: list[Link], records: dict[bytes, frozenset[str]]) -> set[bytes]:
    """Return the documents that count as one subject with the first."""
    neighbours: dict[bytes, list[Neighbour]] = {}
    for one, other, node in some:
        neighbours.setdefault(one, []).append(Neighbour(other, node))
        neighbours.setdefault(other, []).append(Neighbour(one, node))
    return set(find_documents(start, neighbours, records))


def test_a_link_counts_for_documents_of_its_node() -> None:
    of_jilin: dict[bytes, frozenset[str]] = {P: frozenset({JILIN}), Q: frozenset({HENAN})}
    assert counted(P, [(P, Q, JILIN)], of_jilin) == {P, Q}
    assert counted(Q, [(P, Q, JILIN)], of_jilin) == {Q}
    assert counted(Q, [(P, Q, "")], of_jilin) == counted(Q, [(P, Q, NATION)], of_jilin) == {P, Q}


def test_a_document_without_results_is_found_by_the_links_of_a_node_with_results() -> None:
    of_jilin = {P: frozenset({JILIN})}
    assert counted(Q, [(P, Q, JILIN)], of_jilin) == {P, Q}
    assert counted(Q, [(P, Q, JILIN), (Q, R, HENAN)], {**of_jilin, R: frozenset({JILIN})}) == {P, Q}
    assert counted(Q, [(P, Q, HENAN)], of_jilin) == {Q}


@given(links, sources, st.lists(st.tuples(documents, documents), max_size=6), documents)
def test_links_of_a_node_without_results_of_a_document_change_nothing_for_it(
    some: list[Link], records: dict[bytes, frozenset[str]], claims: list[tuple[bytes, bytes]], start: bytes
) -> None:
    """The node may have results of other documents, if any node has results of this one."""
    before = counted(start, some, records)
    forged = [(one, other, SHANDONG) for one, other in claims]
    assert counted(start, some + forged, records) == before
    if start in records:
        others = {key: nodes | {SHANDONG} if key != start else nodes for key, nodes in records.items()}
        assert counted(start, some + forged, others) == counted(start, some, others)


@given(links, documents)
def test_own_links_count_whoever_has_results(some: list[Link], start: bytes) -> None:
    own = [(one, other, "") for one, other, _ in some]
    everywhere = dict.fromkeys(DOCUMENTS, frozenset({JILIN}))
    assert counted(start, own, everywhere) == counted(start, own, {})


def test_a_subject_has_a_limited_number_of_documents() -> None:
    chain = [bytes([number]) * 16 for number in range(MAX_LINKED + 5)]
    links: list[Link] = [(one, other, "") for one, other in itertools.pairwise(chain)]
    assert len(counted(chain[0], links, {})) == MAX_LINKED
