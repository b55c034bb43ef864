"""Several reports of one refusal, at one node or several: the earliest one counts, on either engine."""

from __future__ import annotations

import asyncio

import pytest
from hutong.exchange.v1.replicated_refusal_pb2 import ShownDecision

from services.domain.names import format_decision
from services.runtime.ids import uuid7
from services.verification.refusals.rows import MOST_SAME
from services.verification.refusals.rules import UNLAWFUL
from tests.support.databases import MakeUrl
from tests.support.verification.refusal_nodes import (
    NATION,
    OneNode,
    joined,
    nodes_of,
    pump,
    settle,
)


async def test_two_reports_of_one_refusal_are_one_everywhere(country: list[OneNode]) -> None:
    """The refusal is reported at the nation, in Jilin and in Zhengzhou before the nodes exchange reports.

    The earliest report counts, and all get its answer.
    """
    nation, jilin, _, zhengzhou = country
    links = await joined(country)
    reported = [await node.report() for node in (zhengzhou, nation, jilin)]
    await zhengzhou.answer(reported[0].uuid, "sorry")
    await settle(*links)
    for node in country:
        assert [one.uuid for one in await node.listed()] in ([reported[0].uuid], []), node.region
    for node, own in zip((zhengzhou, nation, jilin), reported, strict=True):
        found = await node.reports.get_refusal(own.uuid)
        assert (found.answer, found.duplicate_of) == ("sorry", "" if own is reported[0] else reported[0].uuid)
    assert [one.uuid for one in await nation.listed()] == [reported[0].uuid]
    again = await nation.report()
    assert again.uuid == reported[0].uuid


async def test_reports_under_two_key_versions_are_one(country: list[OneNode]) -> None:
    """While the pepper rotates, some nodes know one version and others know both.

    A report from either kind of node may come first.
    """
    old, new = b"o" * 16, b"n" * 16
    links = await joined(country)
    nation, jilin, henan, zhengzhou = country
    first = await jilin.report(old)
    assert (await jilin.report(new, other_subject=old, key_version=2)).uuid == first.uuid
    await henan.report(new, other_subject=old, key_version=2)
    last = await zhengzhou.report(new, key_version=2)
    await settle(*links)
    await zhengzhou.answer(first.uuid, "sorry")
    await settle(*links)
    for node in country:
        assert [one.uuid for one in await node.listed()] == [first.uuid], node.region
    assert (await nation.reports.get_refusal(last.uuid)).answer == "sorry"
    # A node that knows only the new version finds the report under both versions.
    other = await nation.report(new, region="410106", other_subject=old, key_version=2)
    for subject, version in ((old, 1), (new, 2)):
        assert (await nation.report(subject, region="410106", key_version=version)).uuid == other.uuid


async def test_a_report_with_both_keys_unites_reports_of_one_key_each(country: list[OneNode]) -> None:
    """Before that report, the two look like reports of two persons.

    The earliest report gets the answer of the others.
    """
    old, new = b"o" * 16, b"n" * 16
    links = await joined(country)
    nation, _, _, zhengzhou = country
    first, second = await nation.report(old), await nation.report(new, key_version=2)
    assert second.uuid != first.uuid
    await settle(*links)
    await zhengzhou.answer(second.uuid, "sorry")
    await settle(*links)
    assert (await zhengzhou.report(old, other_subject=new)).uuid == first.uuid
    await settle(*links)
    for node in country[:1] + country[2:]:
        assert [(one.uuid, one.answer) for one in await node.listed()] == [(first.uuid, "sorry")], node.region
        assert (await node.reports.get_refusal(second.uuid)).duplicate_of == first.uuid


async def test_a_duplicate_brings_the_key_of_the_other_version(small: list[OneNode]) -> None:
    """Henan finds that its report is a duplicate, and sends this to the other nodes.

    Each node then knows the report by both keys.
    """
    old, new = b"o" * 16, b"n" * 16
    nation, _, henan, zhengzhou = small
    await joined(small)
    first = await nation.report(old)
    await henan.report(new, other_subject=old, key_version=2)
    await pump(nation, henan)
    await pump(henan, nation)
    await pump(henan, zhengzhou)
    for node in (nation, henan, zhengzhou):
        assert (await node.report(new, key_version=2)).uuid == first.uuid, node.region


async def test_a_key_of_the_other_version_is_not_sent(small: list[OneNode]) -> None:
    """The message of a report contains no such key of an earlier report."""
    old, new = b"o" * 16, b"n" * 16
    links = await joined(small)
    henan = small[2]
    first = await henan.report(old)
    await settle(*links)
    assert (await henan.report(old, other_subject=new)).uuid == first.uuid
    assert henan.waiting() == 0
    assert (await henan.report(new, key_version=2)).uuid == first.uuid


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(("version", "newer"), [(1, None), (2, b"2" * 16)])
async def test_a_lying_node_unites_no_reports_of_two_persons(
    small: list[OneNode], version: int, newer: bytes | None, is_first: bool
) -> None:
    """Jilin reports a refusal in Zhengzhou with keys of two persons, before or after the second person reports one."""
    one, other = b"o" * 16, b"n" * 16
    links = await joined(small)
    nation, jilin, _, zhengzhou = small
    first = await zhengzhou.report(one)
    await settle(*links)
    second = None if is_first else await zhengzhou.report(other, other_subject=newer)
    await settle(*links)
    await jilin.report(one, other_subject=other, key_version=version)
    await settle(*links)
    second = second or await zhengzhou.report(other, other_subject=newer)
    await settle(*links)
    for node in (nation, zhengzhou):
        for own in (first, second):
            found = await node.reports.get_refusal(own.uuid)
            assert (found.subject_key, found.duplicate_of) == (own.subject_key, ""), node.region
    assert second.subject_key == other


async def test_a_report_is_united_with_a_limited_number_of_others(small: list[OneNode]) -> None:
    """A lying node has sent many reports with one key of the other version."""
    links = await joined(small)
    nation, jilin, _, zhengzhou = small
    for number in range(MOST_SAME + 3):
        await jilin.report(bytes([number]) * 16, other_subject=b"v" * 16, key_version=2)
    await settle(*links)
    await zhengzhou.report(b"v" * 16)
    await settle(*links)
    assert len(await nation.listed()) == 4


async def test_reports_of_one_refusal_that_are_stored_at_the_same_time_are_one(database_url: MakeUrl) -> None:
    """The two reports have their common key in different columns, so no unique index excludes the second one."""
    old, new = b"o" * 16, b"n" * 16
    url = database_url("verification")
    with nodes_of((NATION, NATION), lambda _: url) as (one, other):
        regions = [f"4101{number:02}" for number in range(2, 32)]
        for region in regions:
            await asyncio.gather(one.report(new, region, other_subject=old, key_version=2), other.report(old, region))
        assert sorted(it.region for it in await one.listed()) == regions


async def test_a_duplicate_of_an_assessed_report_keeps_no_shown_decision(small: list[OneNode]) -> None:
    """The node of the place assesses the earliest report. Its later reports need nothing for an assessment."""
    nation, _, henan, zhengzhou = small
    await joined(small)
    early = await zhengzhou.report()
    await zhengzhou.assess(early.uuid)
    shown = ShownDecision(name=format_decision(uuid7())).SerializeToString()
    late = await nation.report(shown_decision=shown)
    await pump(nation, henan)
    await pump(henan, zhengzhou)
    duplicate = await zhengzhou.reports.get_refusal(late.uuid)
    assert (duplicate.duplicate_of, duplicate.assessment) == (early.uuid, UNLAWFUL)
    assert duplicate.shown_decision == b""


async def test_an_earlier_report_that_comes_late_takes_the_place_of_a_later_one(small: list[OneNode]) -> None:
    """Jilin was away. Its earlier report has the answer of the later one, which is now its duplicate."""
    nation, jilin, _, _ = small
    links = await joined(small)
    early = await jilin.report()
    late = await nation.report()
    await settle(*links[1:])
    await small[3].answer(late.uuid, "sorry")
    await settle(*links)
    for node in small:
        assert (await node.reports.get_refusal(early.uuid)).answer == "sorry"
    assert [one.uuid for one in await nation.listed()] == [early.uuid]
