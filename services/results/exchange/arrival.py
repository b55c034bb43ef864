"""An arrival of changes from another node, and the effect of applying them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from hutong.exchange.v1.replica_pb2 import ReplicatedTubes

from services.domain.instant import Instant
from services.domain.region import NATION, within
from services.results.changelog.model import LoggedChange
from services.results.documents.model import DocumentLink
from services.results.exchange.model import Replica, ReplicaTubes
from services.results.exchange.recent_tubes import LoggedTubes, SentTubes
from services.results.records.model import ACTIVE, is_adverse
from services.results.records.new_results import NewResults
from services.runtime.consistency import LogPosition


class Arrival(NamedTuple):
    """The arrival of changes at `node` from `sender`, at the instant `now`.

    `sender` is a node below, or NATION for the node above. At the nation, `now` is the national receive time of the
    results.
    """

    node: str
    sender: str
    now: Instant

    @property
    def at_nation(self) -> bool:
        """Whether the changes arrived at the national node."""
        return self.node == NATION

    @property
    def from_below(self) -> bool:
        """Whether a node below sent the changes. If not, the node above did."""
        return self.sender != self.node and within(self.sender, self.node)

    def is_of_sender(self, node: str) -> bool:
        """Return whether the sender speaks for a node: the sender is that node, or a node above that node."""
        return within(node, self.sender)


class FormedTubes(NamedTuple):
    """Tubes with the results of their persons, whose rows are joined for the engine's bulk statements.

    `message` is the message in which the tubes arrived.
    """

    tubes: ReplicaTubes
    results: NewResults
    message: ReplicatedTubes


@dataclass(slots=True)
class Applied:
    """The effect of applying changes: revisions that are new here, conflicts, and changes that were set aside.

    Attributes:
        formed: all new results that are stored as tubes.
        logged_tubes: the same tubes by the entries of the log that list them, at a node in the middle. Tubes that share
            an entry with other results, or with keys under the other version, are left out.
        not_its_own: by node, the changes that were set aside because another node is the laboratory's home.
        second_registration_count: laboratories without a known home that another node had registered before.
        labs: the laboratories that are new here, the laboratories whose standing changed, and the laboratories that the
            node above has sent.
        received_labs: the codes of all laboratories that a node below has sent.
        links: the changes of links that are not set aside.
        ended_links: the links of this node that have ended, because they were removed at another node.
        links_to_end: links of nodes elsewhere whose end a node below had requested before the links arrived.
        dropped_answer_count: answers of laboratories that were not stored, because the capacity was used up.
    """

    stored: list[Replica] = field(default_factory=list)
    formed: list[FormedTubes] = field(default_factory=list)
    logged_tubes: list[LoggedTubes] = field(default_factory=list)
    conflict_count: int = 0
    not_its_own: Counter[str] = field(default_factory=Counter)
    second_registration_count: int = 0
    labs: list[LoggedChange] = field(default_factory=list)
    received_labs: list[str] = field(default_factory=list)
    links: list[LoggedChange] = field(default_factory=list)
    ended_links: list[DocumentLink] = field(default_factory=list)
    links_to_end: list[DocumentLink] = field(default_factory=list)
    dropped_answer_count: int = 0

    @property
    def tubes(self) -> list[ReplicaTubes]:
        """All new results that are stored as tubes, without their rows."""
        return [formed.tubes for formed in self.formed]

    def note_logged(self, lab: str, reports: Sequence[tuple[str, int]], position: LogPosition) -> None:
        """Note which entry of the log lists a laboratory's results."""
        some = [SentTubes(formed.tubes, formed.message) for formed in self.formed if formed.tubes.lab == lab]
        has_others = any(tubes.other_keys for tubes, _ in some) or any(one.result.lab == lab for one in self.stored)
        if some and not has_others:
            self.logged_tubes.append(LoggedTubes(position, reports, some))

    def by_lab(self) -> dict[str, tuple[list[tuple[str, int]], list[bytes]]]:
        """Return the new report numbers with revisions by laboratory, and their subject keys in the same order."""
        reports: dict[str, tuple[list[tuple[str, int]], list[bytes]]] = {}
        for tubes in self.tubes:
            names, keys = reports.setdefault(tubes.lab, ([], []))
            names.extend(zip(tubes.report_numbers, repeat(1)))
            keys.extend(tubes.subject_keys)
        for replica in self.stored:
            result = replica.result
            names, keys = reports.setdefault(result.lab, ([], []))
            names.append((result.report_number, result.revision))
            keys.append(result.subject_key)
        return reports

    def other_keys(self) -> dict[bytes, bytes]:
        """Return the keys of the subjects under the other key version.

        Only keys that the sender stated are returned.
        """
        others = {
            key: other
            for tubes in self.tubes
            for key, other in zip(tubes.subject_keys, tubes.other_keys, strict=False)
            if other
        }
        return others | {one.result.subject_key: one.other_key for one in self.stored if one.other_key}

    def adverse_keys(self) -> dict[str, set[bytes]]:
        """Return the subject keys of the positive results that are new here, by laboratory."""
        adverse: defaultdict[str, set[bytes]] = defaultdict(set)
        for tubes in self.tubes:
            if any(is_adverse(tube.outcome, tube.item) for tube in tubes.tubes):
                persons = zip(tubes.by_person(), tubes.subject_keys, strict=True)
                adverse[tubes.lab].update(key for tube, key in persons if is_adverse(tube.outcome, tube.item))
        for replica in self.stored:
            if replica.result.state == ACTIVE and is_adverse(replica.result.outcome, replica.result.item):
                adverse[replica.result.lab].add(replica.result.subject_key)
        return adverse
