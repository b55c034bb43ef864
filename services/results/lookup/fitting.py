"""The comparison of the name that a gate states with the names of a person's results. Pure functions."""

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
    """Return a person's results and the keys of its documents if the name fits; otherwise nothing.

    The name fits if it is that of any result under any of the documents. A result without a comparable name fits every
    name. `name_hashes` are those of the name under each key version. There are none for a question without a name, and
    then every result fits. `claimed` are the records of claimed reports. Such a record may be a result of the person
    for another item.
    """
    if not name_hashes or any(_fits(name_hashes, result) for result in results):
        return results, keys
    if any(result.subject_key in keys and _fits(name_hashes, result) for result in claimed):
        return results, keys
    return (), ()


def find_claimed(
    claims: Sequence[ReportClaim], matches: LocalMatches, remote: Sequence[RemoteClaim] = ()
) -> list[StoredResult]:
    """Return the records of claimed reports that this node's store and the nation have, of any person."""
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
