"""Heads of a province's audits reach the nation, where the province's check of its audit fetches them."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from hutong.audit.v1.audit_head_pb2 import AuditChain, AuditHead
from hutong.exchange.v1.exchange_service_pb2 import (
    ListAuditHeadsRequest,
    ReplicateCheckpoint,
    ReplicateRequest,
    ReplicateStart,
)
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run
from prometheus_client import REGISTRY

from services.audit.heads import ResultsHeadClient
from services.audit.model import LoggedHead
from services.command.held_heads import fetch_held_heads
from services.domain.instant import to_timestamp
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from services.storage.pepper_marks import pepper_mark
from tests.support.databases import MakeUrl
from tests.support.lists import read_pages
from tests.support.processes import hutongd
from tests.support.results.country import HENAN, open_country
from tests.support.results.factories import PEPPER
from tests.support.results.node import settings_for
from tests.support.secrets import write_secret
from tests.support.waiting import until

READS = AuditChain.AUDIT_CHAIN_READS


def make_head(service: str, number: int, mark: int) -> AuditHead:
    return AuditHead(service=service, chain=READS, number=number, head=bytes([mark]) * 32)


async def test_heads_of_all_services_are_held_by_the_nation(
    tmp_path: Path, sqlite_url: MakeUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check finds what they contradict. Another head of a seal that the nation holds is counted and not taken."""
    async with open_country(
        tmp_path, sqlite_url, ResultsTiming(sender_heartbeat=0.05, sender_audit_heads=0.05)
    ) as country:
        henan = await country.join(HENAN)
        settings = settings_for(
            tmp_path, jurisdiction=HENAN, upstream=country.nation.address, results_address=henan.address
        )
        client = ResultsHeadClient(settings)
        heads = [make_head("policy", 4, 1), make_head("results", 1_000, 3), make_head("verification", 9, 2)]
        await client.deliver(heads)
        await client.close()
        request = ListAuditHeadsRequest(node=f"nodes/{HENAN}", page_size=1)

        async def listed() -> list[AuditHead]:
            pages = await read_pages(country.nation.exchange.ListAuditHeads, request)
            return [held.audit_head for page in pages for held in page.audit_heads]

        async def are_held() -> bool:
            return await listed() == heads

        await until(are_held)
        expected = [(one.service, LoggedHead(READS, one.number, one.head.hex(), "at the node above")) for one in heads]
        assert await asyncio.to_thread(fetch_held_heads, settings) == expected
        variables = {"jurisdiction": HENAN, "upstream": country.nation.address, "results_database_url": henan.url}
        pepper = write_secret(tmp_path / "the pepper", PEPPER.secret)
        variables |= {"data_dir": str(tmp_path / HENAN), "pepper_file": str(pepper)}
        done = await asyncio.to_thread(hutongd, "audit", "verify", "results", "--upstream", **variables)
        assert done.returncode == 1, done.stderr
        assert "results: missing: seal 1000 of READS, whose head is at the node above" in done.stdout
        asked = ["--results", country.nation.address, "audit-heads", f"nodes/{HENAN}"]
        capsys.readouterr()
        assert await asyncio.to_thread(run, asked) == ExitCode.DONE
        assert f"policy:1:4:{heads[0].head.hex()}" in capsys.readouterr().out
        start = ReplicateStart(
            node=f"nodes/{HENAN}",
            log_id=str(uuid.uuid4()),
            key_version=PEPPER.version,
            pepper_mark=pepper_mark(PEPPER),
            send_time=to_timestamp(SystemClock().now()),
        )
        checkpoint = ReplicateCheckpoint(audit_heads=[make_head("policy", 4, 3)])
        frames = [ReplicateRequest(start=start), ReplicateRequest(checkpoint=checkpoint)]
        assert len([answer async for answer in country.nation.exchange.Replicate(iter(frames))]) == 2
        assert await listed() == heads
        labels = {"node": HENAN, "service": "policy"}
        assert REGISTRY.get_sample_value("hutong_audit_heads_differing_total", labels) == 1
