"""Counts recognitions by what they rest on, to show the share that rests on evidence alone.

Recognitions are counted by laboratory and by gate.

A metric has at most MAX_NAMES names. A laboratory is counted under its own name only if it is registered, and a gate
only under the name in its certificate. A holder who shows a paper can therefore not add a name. Names beyond the limit
are counted together as `other`. Laboratories that are not known are counted as `unknown`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from hutong.verification.v1 import decision_pb2
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from services.runtime.call import Call
from services.verification.decision.model import Decision, Evidence, Inputs
from services.verification.showings.examine import PairedClaims, claim_of, is_registered, lab_of

MAX_NAMES = 500
"""The most names of one metric. A province has some hundreds of laboratories; Prometheus keeps a time series for
each."""
OTHER = "other"
UNKNOWN = "unknown"
_GATE = "gate"
_BASES = {decision_pb2.DECISION_BASIS_RECORD: "record", decision_pb2.DECISION_BASIS_PRESENTED: "presented"}


class Shares(Collector):
    """Counts recognitions in one process.

    It uses plain dictionaries, which are fast, because every recognition is counted.
    """

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit = limit
        self._by_lab: defaultdict[str, dict[str, int]] = defaultdict(_no_counts)
        self._by_gate: defaultdict[str, dict[str, int]] = defaultdict(_no_counts)

    def count(self, decision: Decision, inputs: Inputs, claims: PairedClaims, call: Call | None) -> None:
        """Count a decision that recognises a result. Reports of refusals, which have no call, are left out."""
        basis = _BASES.get(decision.basis)
        if basis is None or call is None:
            return
        lab = _lab_of(decision.result) if decision.result else _lab_of_evidence(decision, inputs, claims)
        self._count(lab, basis, call)

    def count_records(self, recognized: Iterable[tuple[str, Call | None]]) -> None:
        """Count decisions that recognise a record. Each comes with the laboratory, "labs/{uscc}", and the call."""
        basis = _BASES[decision_pb2.DECISION_BASIS_RECORD]
        for (lab, call), count in Counter(recognized).items():
            if call is not None:
                self._count(lab.removeprefix("labs/"), basis, call, count)

    def _count(self, lab: str, basis: str, call: Call, count: int = 1) -> None:
        self._counts_of(self._by_lab, lab)[basis] += count
        if call.caller.role == _GATE:
            self._counts_of(self._by_gate, call.caller.name)[basis] += count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the metrics for Prometheus."""
        for metric, label, counts in (
            ("hutong_recognitions_by_lab", "lab", self._by_lab),
            ("hutong_recognitions_by_gate", "gate", self._by_gate),
        ):
            text = f"Recognitions by {label} and by what they rest on: a record, or evidence alone"
            family = CounterMetricFamily(metric, text, labels=[label, "basis"])
            # The counts are copied, because Prometheus reads them in a thread of its own.
            for name, by_basis in list(counts.items()):
                for basis, count in by_basis.items():
                    family.add_metric([name, basis], count)
            yield family

    def _counts_of(self, counts: defaultdict[str, dict[str, int]], name: str) -> dict[str, int]:
        return counts[name if name in counts or len(counts) < self._limit else OTHER]


def _no_counts() -> dict[str, int]:
    return dict.fromkeys(_BASES.values(), 0)


def _lab_of_evidence(decision: Decision, inputs: Inputs, claims: PairedClaims) -> str:
    """Return the code of the laboratory of the evidence that was used, if it is registered."""
    for considered in decision.considered:
        if considered.use == decision_pb2.EVIDENCE_USE_USED and isinstance(considered.subject, Evidence):
            claim = claim_of(claims, inputs.evidence.index(considered.subject))
            if claim is not None and is_registered(claim):
                return lab_of(claim, considered.subject)
    return UNKNOWN


def _lab_of(result: str) -> str:
    """Return the code of the laboratory that a result's name contains."""
    return result.split("/", 2)[1]


SHARES = Shares()
"""The counts of this process."""
REGISTRY.register(SHARES)
