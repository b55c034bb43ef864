"""The laboratory and the record that a claimed report means, by code, by name or by number alone."""

from __future__ import annotations

from hutong.results.v1 import lab_pb2

from services.results.lookup.claims import FoundClaim, find_claim, reports_to_find
from services.results.lookup.model import LocalMatches, RemoteClaim, RemoteMatch, ReportClaim
from services.results.records.model import StoredResult
from tests.support.results.stored import stored

ONE, TWO, THREE = "91220501MA0HUTNG0T", "91410100MA0000001X", "91220502MA000LAB8G"
UNKNOWN, AUTHORIZED = lab_pb2.LAB_STANDING_UNSPECIFIED, lab_pb2.LAB_STANDING_AUTHORIZED
SUSPENDED, REVOKED = lab_pb2.LAB_STANDING_SUSPENDED, lab_pb2.LAB_STANDING_REVOKED
MINE, OTHERS = b"k" * 16, b"o" * 16


def _find(
    claim: ReportClaim,
    *records: StoredResult,
    names: dict[str, list[str]] | None = None,
    nation: RemoteClaim | None = None,
    standings: dict[str, int] | None = None,
) -> FoundClaim:
    by_report = {(record.lab, record.report_number): record for record in records}
    matches = LocalMatches(
        [list(records)],
        by_report,
        [[MINE]],
        lambda lab, _: (standings or {}).get(lab, AUTHORIZED),  # type: ignore[arg-type, return-value]
        lambda _: "220500",
        None,
        names or {},
    )
    own = [RemoteMatch(record, AUTHORIZED) for record in records if record.subject_key == MINE]
    return find_claim(claim, matches, nation, own, [MINE], 0)


def _of(lab: str, number: int = 1, *, key: bytes = MINE) -> StoredResult:
    return stored(number, lab=lab)._replace(subject_key=key)


def test_a_name_of_one_laboratory_is_as_good_as_its_code() -> None:
    """Found, another person's, or missing; in the node's register or the nation's."""
    named, by_code = ReportClaim("", "R1", None, " 检验 所"), ReportClaim(ONE, "R1", None, "另一检验所")
    for record in (_of(ONE), _of(ONE, key=OTHERS), _of(TWO)):
        assert _find(named, record, names={"检验所": [ONE]}) == _find(by_code, record)
    nation = RemoteClaim(None, UNKNOWN, "", [(ONE, RemoteClaim(RemoteMatch(_of(ONE), AUTHORIZED), AUTHORIZED, ""))])
    found = _find(named, nation=nation)
    assert (found.lab, found.is_comparable) == (ONE, True)
    assert found.record is not None


def test_of_several_laboratories_the_one_with_this_persons_record_counts() -> None:
    named = ReportClaim("", "R1", None, "检验所")
    both = {"检验所": [ONE, TWO]}
    assert _find(named, _of(TWO), _of(ONE, key=OTHERS), names=both).lab == TWO
    for records in ((), (_of(ONE, key=OTHERS),), (_of(THREE),)):
        found = _find(named, *records, names=both)
        assert (found.lab, found.is_comparable, found.possible) == ("", False, ())
    twice = _find(named, _of(ONE), _of(TWO), names=both)
    assert (twice.is_comparable, {match.result.lab for match in twice.possible}) == (False, {ONE, TWO})
    # The nation knows another one of that name.
    nation = RemoteClaim(None, UNKNOWN, "", [(TWO, RemoteClaim(None, AUTHORIZED, ""))])
    assert not _find(named, names={"检验所": [ONE]}, nation=nation).is_comparable


def test_a_number_alone_or_under_an_unknown_name_finds_this_persons_records() -> None:
    for claim in (ReportClaim("", "R1"), ReportClaim("", "R1", None, "不明检验所")):
        found = _find(claim, _of(ONE), _of(TWO, 2), _of(TWO, key=OTHERS))
        assert (found.is_comparable, [match.result.lab for match in found.possible]) == (False, [ONE])


def test_a_laboratory_without_a_number_identifies_no_report() -> None:
    """The laboratory is still named, with its standing."""
    for claim in (ReportClaim(ONE, ""), ReportClaim("", "", None, "检验所")):
        found = _find(claim, _of(ONE), names={"检验所": [ONE]}, standings={ONE: SUSPENDED})
        assert (found.lab, found.standing, found.is_comparable, found.possible) == (ONE, SUSPENDED, False, ())


def test_a_standing_counts_against_a_name_only_if_it_is_that_of_all() -> None:
    named = ReportClaim("", "R1", None, "检验所")
    both = {"检验所": [ONE, TWO]}
    assert _find(named, names=both, standings={ONE: SUSPENDED, TWO: REVOKED}).standing == SUSPENDED
    assert _find(named, names=both, standings={ONE: SUSPENDED}).standing == UNKNOWN


def test_a_code_wins_over_a_name() -> None:
    claims = [ReportClaim(ONE, "R1", None, "检验所"), ReportClaim("", "R2", None, "检 验所"), ReportClaim("", "R3")]
    assert reports_to_find(claims) == ([(ONE, "R1")], [("检验所", "R2")])
