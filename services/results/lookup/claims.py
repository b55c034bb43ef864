"""Finds the laboratory and the record of a claimed report. Pure functions.

A laboratory and a number together identify a report. A claim may give a name in place of the laboratory's code. The
name stands for every laboratory of that name in the register of this node or of the nation. If there are several, the
laboratory that has a record of this person under the number counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from services.domain.instant import Instant
from services.results.labs.model import NOT_AUTHORIZED, STANDING_UNKNOWN, merge_keys
from services.results.lookup.merge import stricter
from services.results.lookup.model import LocalMatches, NamedReport, RemoteClaim, RemoteMatch, ReportClaim
from services.results.missing_reports.model import newer_answer
from services.results.records.model import ReportName

if TYPE_CHECKING:
    from services.results.labs.model import SigningKey, Standing
    from services.results.missing_reports.model import LabAnswer

MAX_POSSIBLE = 10
"""The most records that are returned for a number if the laboratory is not known. There is rarely more than one."""


class FoundClaim(NamedTuple):
    """What was found of one claimed report.

    Attributes:
        lab: the code of its laboratory; empty if the claim fits no laboratory or several.
        standing: its laboratory's standing at the claimed report time.
        region: its laboratory's region; empty if unknown.
        is_comparable: whether laboratory and number are known.
        record: this person's record of the report, with its laboratory's standing at its reference time; None if there
            is none.
        is_others: whether there is a record, but of another person.
        possible: the person's records that the claim may mean, if the laboratory is not known.
        signing_keys: the keys of the claimed laboratory, if they are asked for.
        answer: what the laboratory has answered, if there is no record.
    """

    lab: str
    standing: Standing
    region: str
    is_comparable: bool
    record: RemoteMatch | None = None
    is_others: bool = False
    possible: tuple[RemoteMatch, ...] = ()
    signing_keys: tuple[SigningKey, ...] = ()
    answer: LabAnswer | None = None


class _OfLab(NamedTuple):
    """What was found of a claimed report, on the assumption that one certain laboratory issued it."""

    standing: Standing
    region: str
    record: RemoteMatch | None
    is_others: bool
    answer: LabAnswer | None = None


def reports_to_find(claims: Collection[ReportClaim]) -> tuple[list[ReportName], list[NamedReport]]:
    """Return the claimed reports with a laboratory's code, and the claimed reports with a laboratory's name.

    Each report is returned once, in sorted order. Claimed reports without a number are included.
    """
    by_code = {(claim.lab, claim.report_number) for claim in claims if claim.lab}
    by_name = {(claim.normal_name, claim.report_number) for claim in claims if claim.normal_name}
    return sorted(by_code), sorted(by_name)


def find_claim(
    claim: ReportClaim,
    matches: LocalMatches,
    remote: RemoteClaim | None,
    own_results: Sequence[RemoteMatch],
    keys: Collection[bytes],
    now: Instant,
) -> FoundClaim:
    """Return what was found of a claim.

    Args:
        claim: the claimed report.
        matches: what this node's store has.
        remote: the nation's answer; None if it gave none.
        own_results: the person's results of the items that are looked up.
        keys: the keys of all of the person's documents.
        now: the instant of the look-up.
    """
    by_lab = _by_lab(claim, matches, remote, keys, now)
    own = [lab for lab, found in by_lab.items() if found.record is not None]
    lab = next(iter(by_lab)) if len(by_lab) == 1 else own[0] if len(own) == 1 else ""
    if lab:
        standing, region, record, is_others, answer = by_lab[lab]
        if claim.report_number:
            known = matches.signing_keys_of(lab), () if remote is None else remote.signing_keys
            signing_keys = merge_keys(*known) if claim.with_signing_keys and claim.lab else ()
            return FoundClaim(lab, standing, region, True, record, is_others, (), signing_keys, answer)
        return FoundClaim(lab, standing, region, False)
    standings = [found.standing for found in by_lab.values()]
    standing = standings[0] if standings and all(one in NOT_AUTHORIZED for one in standings) else STANDING_UNKNOWN
    possible = [found.record for found in by_lab.values() if found.record is not None]
    if not by_lab and claim.report_number:
        possible = [match for match in own_results if match.result.report_number == claim.report_number]
    return FoundClaim("", standing, "", False, possible=tuple(possible[:MAX_POSSIBLE]))


def _by_lab(
    claim: ReportClaim, matches: LocalMatches, remote: RemoteClaim | None, keys: Collection[bytes], now: Instant
) -> Mapping[str, _OfLab]:
    """Return what was found for each laboratory that the claim may mean, in order of code."""
    if claim.lab:
        answers = {claim.lab: remote}
    else:
        answers = dict.fromkeys(matches.labs_by_name.get(claim.normal_name, ()))
        answers.update(remote.by_lab if remote is not None else ())
    return {lab: _of_lab(lab, claim, matches, answers[lab], keys, now) for lab in sorted(answers)}


def _of_lab(
    lab: str,
    claim: ReportClaim,
    matches: LocalMatches,
    remote: RemoteClaim | None,
    keys: Collection[bytes],
    now: Instant,
) -> _OfLab:
    standing = matches.standing_at(lab, now if claim.report_time is None else claim.report_time)
    region = matches.region_of(lab)
    local = matches.by_report.get((lab, claim.report_number))
    records = [] if local is None else [local]
    of_record: Standing = STANDING_UNKNOWN
    if remote is not None:
        standing = stricter(standing, remote.standing)
        region = region or remote.region
        if remote.found is not None:
            records.append(remote.found.result)
            of_record = remote.found.standing
    own = [record for record in records if record.subject_key in keys]
    record = max(own, key=lambda record: record.revision, default=None)
    if record is None:
        # If there is a record, even of another person, the laboratory's answer does not count.
        answers = matches.answers.get((lab, claim.report_number)), None if remote is None else remote.answer
        return _OfLab(standing, region, None, bool(records), None if records else newer_answer(*answers))
    of_record = stricter(matches.standing_at(lab, record.reference_time), of_record)
    return _OfLab(standing, region, RemoteMatch(record, of_record), False)
