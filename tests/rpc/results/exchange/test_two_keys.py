"""Nodes change the pepper one after the other, and a person is found whole at every step."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_service_pb2 import LookupLatestRequest

from services.results.changelog.tables import changes
from services.results.documents.tables import key_pairs
from services.results.records.tables import results
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, open_member
from tests.support.results.factories import make_document, make_tube
from tests.support.secrets import write_secret
from tests.support.waiting import until


async def test_nodes_change_the_pepper_one_after_the_other(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """Jilin writes the newer version before the nation does, and Henan after it."""
    old, new = (str(write_secret(tmp_path / name, name.encode() * 8)) for name in ("old1", "new2"))
    first = {"pepper_file": old, "pepper_other_file": new, "pepper_other_version": "2"}
    second = {"pepper_file": new, "pepper_version": "2", "pepper_other_file": old, "pepper_other_version": "1"}
    urls = {region: sqlite_url("results") for region in ("000000", JILIN, HENAN)}
    sent: list[str] = []
    for step, (of_nation, of_jilin) in enumerate([(first, first), (first, second), (second, second)]):
        async with AsyncExitStack() as nodes:
            nation = await nodes.enter_async_context(
                open_member(tmp_path / "nation", urls["000000"], "000000", None, None, None, **of_nation)
            )
            upstream = nation.address
            jilin = await nodes.enter_async_context(
                open_member(tmp_path / JILIN, urls[JILIN], JILIN, None, None, None, upstream=upstream, **of_jilin)
            )
            if not sent:
                await jilin.node.register()
            tube = make_tube(1)
            tube.persons[0].report_number = f"R{step}"
            await jilin.node.upload([tube], f"u{step}")
            sent.append(f"R{step}")
            await until(lambda nation=nation: len(nation.rows(results, "report_number")) == len(sent))
            henan = await nodes.enter_async_context(
                open_member(tmp_path / HENAN, urls[HENAN], HENAN, None, None, None, upstream=upstream, **first)
            )
            request = LookupLatestRequest(document=make_document(1), scope=LOOKUP_SCOPE_NATIONWIDE, limit=9)
            for node in (nation, jilin, henan):
                answer = await node.node.results.LookupLatest(request)
                assert {one.report_number for one in (*answer.in_region, *answer.out_of_region)} == set(sent)
            await until(lambda jilin=jilin: not any(keys for (keys,) in jilin.rows(changes, "other_keys")))
    assert {version for (version,) in nation.rows(results, "key_version")} == {1, 2}
    assert nation.rows(key_pairs, "subject_key") == []
