"""Replication: every kind of change that a province commits reaches the nation once, in any order."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.node_pb2 import SET_ASIDE_REASON_NOT_ITS_OWN, SET_ASIDE_REASON_SECOND_REGISTRATION, SetAside
from hutong.results.v1 import lab_pb2
from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    ListLinkedDocumentsRequest,
    UnlinkDocumentsRequest,
)
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    GetLabRequest,
    SetLabSigningKeyRequest,
    SetLabStandingRequest,
)
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest
from hutong_client.reports.signed import to_der
from sqlalchemy import make_url

from services.domain.instant import DAY, to_timestamp
from services.results.documents.tables import document_links
from services.results.exchange.tables import lab_homes, replicated_positions
from services.results.labs.tables import lab_signing_keys, lab_standings, labs
from services.results.records.tables import results
from services.results.schema import audit as audit_tables
from services.results.timeliness.tables import national_delays, national_receive_times
from services.runtime.audit import AuditKind
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, Country, Member, open_member, replicated
from tests.support.results.factories import (
    CENTRAL_USCC,
    LAB_NAME,
    NOW,
    OTHER_USCC,
    PENDING,
    POSITIVE,
    USCC,
    lab_to_register,
    make_document,
    make_tube,
    make_tubes,
)
from tests.support.waiting import until


async def test_every_revision_is_at_the_nation(country: Country) -> None:
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload([make_tube(0, outcome=PENDING), *make_tubes(30, 1), make_tube(40, 5)])
    await jilin.node.upload([make_tube(0), make_tube(31)], "second")
    await jilin.node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R1", outcome=POSITIVE, reason="mixed up")
    )
    await jilin.node.admin.RecallResults(
        RecallResultsRequest(
            lab=LAB_NAME,
            report_interval=Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now())),
            outcomes=[POSITIVE],
            reason="contaminated",
        )
    )
    assert len(jilin.results()) == 40
    await replicated(country, jilin)


async def test_no_document_number_name_mask_or_reason_is_at_the_nation(country: Country) -> None:
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload(make_tubes(5))
    await jilin.node.links.LinkDocuments(
        LinkDocumentsRequest(document=make_document(1), linked_document=make_document(2), reason="seen both")
    )
    await replicated(country, jilin)
    await until(lambda: len(country.nation.rows(document_links, "link_id")) == 1)
    told = country.nation.rows(results, "masked_name", "masked_number")
    assert set(told) == {("", "")}
    links = country.nation.rows(document_links, "masked_number", "linked_masked_number", "reason")
    assert links == [("", "", "")]


async def test_a_link_and_its_end_are_at_the_nation(country: Country) -> None:
    jilin = await country.join(JILIN)
    pair = {"document": make_document(1), "linked_document": make_document(2), "reason": "seen both"}
    columns = ("link_id", "subject_key", "linked_subject_key", "create_time", "unlink_time")
    await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**pair))
    await until(lambda: country.nation.rows(document_links, *columns) == jilin.rows(document_links, *columns))
    await jilin.node.links.UnlinkDocuments(UnlinkDocumentsRequest(**pair))
    await until(lambda: country.nation.rows(document_links, *columns) == jilin.rows(document_links, *columns))
    assert country.nation.rows(document_links, "unlink_time") != [(None,)]


async def test_a_laboratorys_keys_and_their_end_are_at_the_nation_and_answered_elsewhere(
    country: Country,
) -> None:
    """Another province gets them with a claim that asks for them, and with no other claim."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    await jilin.node.register()
    public_key = to_der(Ed25519PrivateKey.generate().public_key())
    request = SetLabSigningKeyRequest(name=LAB_NAME, signing_key=lab_pb2.LabSigningKey(public_key=public_key))
    await jilin.node.labs.SetLabSigningKey(request)
    columns = ("source_node", "public_key", "revoke_time")
    await until(lambda: country.nation.rows(lab_signing_keys, *columns) == [(JILIN, public_key, None)])
    request.signing_key.revoke_time.CopyFrom(to_timestamp(DAY))
    await jilin.node.labs.SetLabSigningKey(request)
    await until(lambda: country.nation.rows(lab_signing_keys, *columns) == [(JILIN, public_key, DAY)])
    look_up = LookupLatestRequest(document=make_document(1), scope=LOOKUP_SCOPE_NATIONWIDE)
    for with_keys in (True, False):
        look_up.claimed_reports.add(lab=LAB_NAME, report_number="R1", with_signing_keys=with_keys)
    signed, unsigned = (await henan.node.results.LookupLatest(look_up)).claims
    assert [(key.public_key, key.revoke_time) for key in signed.signing_keys] == [(public_key, to_timestamp(DAY))]
    assert not unsigned.signing_keys


async def test_a_link_removed_at_another_node_is_ended_by_the_node_that_made_it(country: Country) -> None:
    """All three nodes then have the same end, with the node where the person acted. Jilin audits it with its name."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    in_henan = henan.node.of_lab(OTHER_USCC)
    await in_henan.register()
    await in_henan.upload(make_tubes(2))
    await until(lambda: len(country.nation.results()) == 2)
    pair = {"document": make_document(0), "linked_document": make_document(1), "reason": "two persons"}
    await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**pair))
    await until(lambda: len(country.nation.rows(document_links, "link_id")) == 1)
    await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(0)))
    # Each of two links of one pair keeps its own history.
    await henan.node.links.LinkDocuments(LinkDocumentsRequest(**pair))
    await until(lambda: len(country.nation.rows(document_links, "link_id")) == 2)
    answer = await henan.node.links.UnlinkDocuments(UnlinkDocumentsRequest(**pair))
    assert not answer.document_link.unlink_node

    def ends(member: Member) -> set[tuple[Any, ...]]:
        return set(member.rows(document_links, "unlink_time", "unlink_node"))

    def told_alike() -> bool:
        (own,) = ends(jilin)
        return own[1] == HENAN and ends(henan) == ends(country.nation) and own in ends(henan)

    await until(told_alike)
    assert None not in [time for time, _ in ends(henan)]
    listed = await jilin.node.links.ListLinkedDocuments(ListLinkedDocumentsRequest(document=make_document(0)))
    assert [link.unlink_node for link in listed.document_links] == [f"nodes/{HENAN}"]
    audited = jilin.rows(audit_tables.rows, "kind", "caller")
    assert audited.count((int(AuditKind.CHANGE), f"nodes/{HENAN}")) == 2


async def test_the_nation_settles_who_speaks_for_a_laboratory_that_two_provinces_registered(country: Country) -> None:
    """The code names neither province. Neither one's standing counts until the nation registers the laboratory."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    name = f"labs/{CENTRAL_USCC}"
    await jilin.node.of_lab(CENTRAL_USCC).register()

    async def standing() -> int:
        try:
            return (await country.nation.node.labs.GetLab(GetLabRequest(name=name))).lab.standing
        except grpc.aio.AioRpcError:
            return -1

    await until(lambda: _is(standing(), lab_pb2.LAB_STANDING_AUTHORIZED))
    await henan.node.of_lab(CENTRAL_USCC).register()
    await until(lambda: _is(standing(), lab_pb2.LAB_STANDING_UNSPECIFIED))
    suspended = SetLabStandingRequest(
        name=name, standing=lab_pb2.LAB_STANDING_SUSPENDED, effective_time=to_timestamp(DAY), reason="false reports"
    )
    await henan.node.labs.SetLabStanding(suspended)
    await until(lambda: len(country.nation.rows(lab_standings, "entry")) == 3)
    assert await standing() == lab_pb2.LAB_STANDING_UNSPECIFIED
    assert country.nation.rows(lab_homes, "uscc", "node") == [(CENTRAL_USCC, JILIN), (CENTRAL_USCC, HENAN)]
    assert country.nation.rows(labs, "contact") == [(lab_to_register(CENTRAL_USCC).contact,)]
    second = SetAside(reason=SET_ASIDE_REASON_SECOND_REGISTRATION, count=1)
    await until(lambda: _set_aside(country, [], [second]))
    lab = lab_to_register(CENTRAL_USCC)
    lab.region = "410105"
    await country.nation.node.labs.CreateLab(CreateLabRequest(lab=lab))
    assert await standing() == lab_pb2.LAB_STANDING_SUSPENDED
    assert country.nation.rows(lab_homes, "uscc", "node") == [(CENTRAL_USCC, HENAN)]


async def _is(value: Awaitable[int], *wanted: int) -> bool:
    return await value in wanted


async def test_a_laboratory_that_works_elsewhere_is_heard_once_the_nation_says_so(country: Country) -> None:
    """The laboratory's code names Jilin. What Henan sends of it is set aside at first, and later comes again."""
    await country.join(JILIN)
    await until(lambda: _set_aside(country, []))
    henan = await country.join(HENAN)
    in_henan = henan.node.of_lab(USCC)
    for node in (henan.node, in_henan):
        await node.register()
    await in_henan.upload(make_tubes(3))
    await henan.node.upload(make_tubes(3, 10))
    await until(lambda: len(country.nation.results()) == 3)

    async def not_its_own() -> int:
        (_, node) = await country.nation.nodes()
        assert {one.reason for one in node.set_aside} <= {SET_ASIDE_REASON_NOT_ITS_OWN}
        return sum(one.count for one in node.set_aside)

    # The registration may come twice, because a node sends its registers anew when it first connects.
    await until(lambda: _is(not_its_own(), 4, 5))
    assert country.nation.rows(labs, "uscc") == [(OTHER_USCC,)]
    lab = lab_to_register(USCC)
    lab.region = "410105"
    await country.nation.node.labs.CreateLab(CreateLabRequest(lab=lab))
    await henan.node.upload(make_tubes(1, 20), "next")
    await replicated(country, henan)
    assert await not_its_own() in (4, 5)


async def _set_aside(country: Country, *wanted: list[SetAside]) -> bool:
    return [list(node.set_aside) for node in await country.nation.nodes()] == list(wanted)


async def test_of_one_report_from_two_nodes_the_first_stands_and_the_other_is_counted(country: Country) -> None:
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    in_jilin, in_henan = jilin.node.of_lab(CENTRAL_USCC), henan.node.of_lab(CENTRAL_USCC)
    await in_jilin.register()
    await in_henan.register()
    await in_jilin.upload(make_tubes(3))
    await replicated(country, jilin)
    await in_henan.upload([make_tube(0), make_tube(1, outcome=POSITIVE), make_tube(7)])

    async def told() -> bool:
        return [node.conflict_count for node in await country.nation.nodes()] == [0, 1] and len(
            country.nation.results()
        ) == 4

    await until(told)
    assert country.nation.results(of=JILIN) == jilin.results()


async def test_a_result_at_a_node_that_knows_nothing_of_its_sampling_record_is_that_nodes_conflict(
    country: Country,
) -> None:
    """The second node cannot know. The nation keeps the record of the first and counts a conflict for the second."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    in_jilin, in_henan = jilin.node.of_lab(CENTRAL_USCC), henan.node.of_lab(CENTRAL_USCC)
    await in_jilin.register()
    await in_henan.register()
    await in_jilin.upload([make_tube(0, outcome=PENDING)])
    await replicated(country, jilin)
    (answer,) = await in_henan.upload([make_tube(0)])
    assert answer.accepted_count == 1

    async def told() -> bool:
        return [(node.name, node.conflict_count) for node in await country.nation.nodes()] == [
            ("nodes/220000", 0),
            ("nodes/410000", 1),
        ]

    await until(told)
    assert country.nation.results() == jilin.results()


async def test_a_commit_larger_than_a_batch_arrives_completely(country: Country) -> None:
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload([make_tube(first, 20) for first in range(0, 2600, 20)])
    assert len(jilin.results()) == 2600
    await replicated(country, jilin)


async def test_what_was_there_before_the_province_joined_arrives_too(
    tmp_path: Path, country: Country, database_url: MakeUrl
) -> None:
    url = database_url("results")
    async with open_member(tmp_path / "alone", url, JILIN) as alone:
        await alone.node.labs.CreateLab(CreateLabRequest(lab=lab_to_register(OTHER_USCC)))
        await alone.node.register()
        await alone.node.upload(make_tubes(50))
    async with open_member(tmp_path / "joined", url, JILIN, upstream=country.nation.address) as joined:
        await replicated(country, joined)
        await until(lambda: len(country.nation.rows(labs, "uscc")) == 2)


async def test_the_province_learns_when_the_nation_had_it(country: Country) -> None:
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload(make_tubes(20), batch=10)
    await replicated(country, jilin)
    await until(lambda: len(jilin.rows(national_receive_times, "lab")) == 2)
    at_nation = set(country.nation.rows(results, "lab", "upload_time", "national_receive_time"))
    assert set(jilin.rows(national_receive_times, "lab", "upload_time", "national_receive_time")) == at_nation
    await until(lambda: sum(n for (n,) in jilin.rows(national_delays, "persons")) == 20)
    look_up = LookupLatestRequest(document=make_document(3))
    (told,) = (await jilin.node.results.LookupLatest(look_up)).in_region
    assert told.national_receive_time.ToMicroseconds() in {time for _, _, time in at_nation}
    day = Interval(start_time=to_timestamp(NOW - DAY), end_time=to_timestamp(NOW + DAY))
    for member, subject in ((jilin, LAB_NAME), (country.nation, LAB_NAME)):
        request = SummarizeTimelinessRequest(lab=subject, interval=day)
        (summary,) = (await member.node.timeliness.SummarizeTimeliness(request)).timeliness
        assert (summary.result_count, summary.upload_to_nationwide.HasField("p99")) == (20, True)


async def test_a_log_restored_from_an_older_copy_is_sent_again_under_another_name(
    tmp_path: Path, country: Country, sqlite_url: MakeUrl
) -> None:
    """New changes of the restored log have known numbers with other content. None of them counts as a replay."""
    url = sqlite_url("results")
    copy = tmp_path / "older.db"
    file = Path(make_url(url).database or "")
    upstream = country.nation.address
    async with open_member(tmp_path / "a", url, JILIN, upstream=upstream) as jilin:
        await jilin.node.register()
        await jilin.node.upload(make_tubes(3))
        await replicated(country, jilin)
    shutil.copyfile(file, copy)
    async with open_member(tmp_path / "a", url, JILIN, upstream=upstream) as jilin:
        await jilin.node.upload(make_tubes(3, 10), "lost")
        await replicated(country, jilin)
    shutil.copyfile(copy, file)
    async with open_member(tmp_path / "a", url, JILIN, upstream=upstream) as jilin:
        await jilin.node.upload(make_tubes(5, 20), "after")
        # The nation keeps what the province lost.
        await until(lambda: len(country.nation.results()) == 11)
        assert set(jilin.results()) < set(country.nation.results())
    assert len({log for (log,) in country.nation.rows(replicated_positions, "log_id")}) == 2
