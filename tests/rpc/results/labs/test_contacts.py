"""A laboratory's contact at the nodes above its own, and changes of its contact and name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import ListLabsRequest, UpdateLabRequest
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest
from sqlalchemy import Connection, update

from services.domain.instant import DAY, to_timestamp
from services.domain.region import NATION
from services.results.changelog.model import ChangeKind
from services.results.changelog.tables import changes, log_identity
from services.results.exchange.downstream.notifications.notifications import read_notifications
from services.results.exchange.upstream.outbox import append_contacts
from services.results.labs.model import Lab
from services.results.labs.tables import lab_copies, labs
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, field_violations
from tests.support.results.country import (
    HENAN,
    HENAN_USCC,
    JILIN,
    Country,
    Member,
    laboratory,
    open_country,
    open_member,
)
from tests.support.results.factories import OTHER_USCC, lab_to_register
from tests.support.waiting import until

NAME = f"labs/{HENAN_USCC}"
CONTACT = lab_to_register(HENAN_USCC).contact
LUOYANG = "410300"


@pytest.fixture
async def country(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[Country]:
    async with open_country(tmp_path, sqlite_url) as opened:
        yield opened


async def contact_at(member: Member) -> str:
    """Return the contact that a node states; empty if it does not know the laboratory."""
    listed = (await member.node.labs.ListLabs(ListLabsRequest())).labs
    return {lab.name: lab.contact for lab in listed}.get(NAME, "")


async def knows(member: Member, contact: str) -> bool:
    return await contact_at(member) == contact


async def test_it_is_known_at_each_node_above_and_at_no_other(country: Country) -> None:
    """The nation shows the contact beside the laboratory's figures. Jilin gets the laboratory without the contact."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    luoyang = await country.join(LUOYANG, upstream=henan.address)
    await laboratory(luoyang, HENAN_USCC)
    for member in (luoyang, henan, country.nation):
        await until(lambda member=member: knows(member, CONTACT))
    now = SystemClock().now()
    summarize = SummarizeTimelinessRequest(lab=NAME)
    summarize.interval.start_time.CopyFrom(to_timestamp(now - DAY))
    summarize.interval.end_time.CopyFrom(to_timestamp(now))
    (row,) = (await country.nation.node.timeliness.SummarizeTimeliness(summarize)).timeliness
    assert (row.lab_display_name, row.lab_contact) == (lab_to_register(HENAN_USCC).display_name, CONTACT)
    await until(lambda: jilin.rows(lab_copies, "uscc") == [(HENAN_USCC,)])
    with contextlib.closing(open_database(country.nation.url)) as database:
        sent = database.read_now(read_notifications, JILIN, 0)
    assert {one.contact for notification in sent for one in notification.changes if isinstance(one, Lab)} == {None}


async def test_what_the_release_before_did_not_send_is_sent_once(country: Country, sqlite_url: MakeUrl) -> None:
    """Both nodes are upgraded: the nation has the laboratory without its contact, and Henan has sent it."""
    url = sqlite_url("results")

    def run() -> contextlib.AbstractAsyncContextManager[Member]:
        return open_member(country.directory / HENAN, url, HENAN, upstream=country.nation.address)

    async with run() as henan:
        await laboratory(henan, HENAN_USCC)
        await until(lambda: knows(country.nation, CONTACT))
    with contextlib.closing(open_database(country.nation.url)) as database:
        database.write_now(lambda connection: connection.execute(update(labs).values(contact="")) and None)
    with contextlib.closing(open_database(url)) as database:
        not_sent = update(log_identity).values(contacts_sent_to="")
        database.write_now(lambda connection: connection.execute(not_sent) and None)
    assert await knows(country.nation, "")
    async with run():
        await until(lambda: knows(country.nation, CONTACT))

    def entries(connection: Connection, above: str) -> int:
        append_contacts(connection, above, SystemClock().now(), has_all_labs=False)
        logged = connection.execute(changes.select().where(changes.c.kind == ChangeKind.LABS))
        return len(logged.all())

    with contextlib.closing(open_database(url)) as database:
        once = database.write_now(entries, NATION)
        # A node above that does not know contacts is upgraded.
        counts = [database.write_now(entries, above) for above in (NATION, "", NATION, NATION)]
    assert counts == [once, once, once + 1, once + 1]


def updating(*paths: str, name: str = NAME, **values: str) -> UpdateLabRequest:
    return UpdateLabRequest(lab=lab_pb2.Lab(name=name, **values), update_mask=FieldMask(paths=paths))


async def name_and_contact(member: Member, *, as_copy: bool = False) -> tuple[str, str]:
    """Return what a node has stored of the laboratory, or of its copy, which has no contact; empty without a copy."""
    if as_copy:
        return next((name for (name,) in member.rows(lab_copies, "display_name")), ""), ""
    (row,) = member.rows(labs, "display_name", "contact")
    return row[0], row[1]


async def test_a_new_name_reaches_all_nodes_and_a_new_contact_those_above(country: Country) -> None:
    """Only the node that has registered a laboratory changes it. A repeated change is not logged again."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    luoyang = await country.join(LUOYANG, upstream=henan.address)
    await laboratory(luoyang, HENAN_USCC)
    for member in (henan, country.nation):
        await until(lambda member=member: knows(member, CONTACT))
    update_lab = luoyang.node.labs.UpdateLab
    renamed = (await update_lab(updating("display_name", display_name="洛阳新所", contact="ignored"))).lab
    assert (renamed.display_name, renamed.contact, len(renamed.standing_changes)) == ("洛阳新所", CONTACT, 1)
    assert (await update_lab(updating(contact="0379-1"))).lab.display_name == "洛阳新所"

    async def has(member: Member, *wanted: str, as_copy: bool = False) -> bool:
        return await name_and_contact(member, as_copy=as_copy) == wanted

    for member in (luoyang, henan, country.nation):
        await until(lambda member=member: has(member, "洛阳新所", "0379-1"))
    await until(lambda: has(jilin, "洛阳新所", "", as_copy=True))
    found = await country.nation.node.labs.ListLabs(ListLabsRequest(display_name="洛阳新所"))
    assert [one.name for one in found.labs] == [NAME]

    logged = len(luoyang.rows(changes, "sequence"))
    await update_lab(updating("*", display_name="洛阳新所", contact="0379-1"))
    assert len(luoyang.rows(changes, "sequence")) == logged
    await update_lab(updating("contact"))
    for member in (luoyang, henan, country.nation):
        await until(lambda member=member: has(member, "洛阳新所", ""))
    for member in (henan, country.nation):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await member.node.labs.UpdateLab(updating(contact="elsewhere"))
        assert error_info(refused.value).reason == "CONFLICT"
        assert await has(member, "洛阳新所", "")


async def test_an_update_with_a_fault_changes_nothing(country: Country) -> None:
    """The field is named, and never its value."""
    await laboratory(country.nation, HENAN_USCC)
    too_long = "9" * 201
    faults = {
        "update_mask": [updating(), updating("region", contact="1"), updating("contact", "*"), UpdateLabRequest()],
        "lab.display_name": [updating("*", contact="1"), updating(display_name="a\0b")],
        "lab.contact": [
            updating(contact=too_long),
            updating("display_name", "contact", display_name="a", contact="\n"),
        ],
        "lab.name": [updating(name="", contact="1"), updating(name="labs/1", contact="1")],
    }
    for field, requests in faults.items():
        for request in requests:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await country.nation.node.labs.UpdateLab(request)
            assert list(field_violations(refused.value)) == [field]
            assert too_long not in str(refused.value.details())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await country.nation.node.labs.UpdateLab(updating(name=f"labs/{OTHER_USCC}", contact="1"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert await knows(country.nation, CONTACT)
