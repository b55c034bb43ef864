"""Compares the name that a gate states with the names of a person's results. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.domain.subject import is_comparable
from services.results.lookup.model import LocalMatches, RemoteClaim, ReportClaim
from services.results.records.model import StoredResult


def fitting(
    name_hashes: Sequence[bytes],
    results: Sequence[StoredResult],
    keys: Sequence[bytes] = (),
    claimed: Sequence[StoredResult] = (),
) -> tuple[Sequence[StoredResult], Sequence[bytes]]:
    """Return a subject's results and the keys of its documents if the stated name fits. Return nothing otherwise.

    The name fits if at least one result of the subject, under any of its documents, has this name. A result without a
    comparable name fits every name.

    Args:
        name_hashes: the hashes of the stated name, one for each key version. If no name is stated, there are none, and
            every result fits.
        results: the subject's results for the items of the question.
        keys: the keys of the subject's documents.
        claimed: the records of claimed reports. The stated name may also fit such a record of the subject, because a
            claimed report may be of an item that `results` lacks.
    """
    if not name_hashes:
        return results, keys
    for result in results:
        if _fits(name_hashes, result):
            return results, keys
    if any(result.subject_key in keys and _fits(name_hashes, result) for result in claimed):
        return results, keys
    return (), ()


def find_claimed(
    claims: Sequence[ReportClaim], matches: LocalMatches, remote: Sequence[RemoteClaim] = ()
) -> list[StoredResult]:
    """Return the records of the claimed reports that this node's store and the nation have.

    The records may be of any person.
    """
    found = []
    for claim in claims:
        labs = [claim.lab] if claim.lab else matches.labs_by_name.get(claim.normal_name, ())
        names = [(lab, claim.report_number) for lab in labs]
        found += [matches.by_report[name] for name in names if name in matches.by_report]
    return [*found, *(result for one in remote for result in _results_of(one))]


def _fits(name_hashes: Sequence[bytes], result: StoredResult) -> bool:
    return result.name_hash in name_hashes or not is_comparable(result.name_hash)


def _results_of(claim: RemoteClaim) -> Iterator[StoredResult]:
    if claim.found is not None:
        yield claim.found.result
    for _, of_lab in claim.by_lab:
        yield from _results_of(of_lab)
