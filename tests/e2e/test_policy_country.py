"""The nation's Policy and Henan's as processes that are frozen and killed while the nation publishes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, WithdrawPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub

from tests.support.databases import MakeUrl
from tests.support.link import link_to
from tests.support.policy.country import FLOOR, NATION_POLICY, make_floor, nation_as_of, resolve, revisions
from tests.support.policy.service import Service, make_policy
from tests.support.processes import Daemon, environment
from tests.support.secrets import write_secret
from tests.support.waiting import until

PUBLICATIONS = 60


class Process:
    """A Policy service that can be killed and started again on its database, at another port."""

    def __init__(self, directory: Path, url: str, **variables: str) -> None:
        pepper = write_secret(directory / "pepper")
        self._environment = environment(
            data_dir=str(directory),
            pepper_file=str(pepper),
            policy_address="127.0.0.1:0",
            policy_database_url=url,
            **variables,
        )
        self._daemon: Daemon | None = None
        self.address = ""

    async def start(self) -> str:
        """Start it; where it serves."""
        self._daemon = Daemon(("serve", "policy"), self._environment)
        self.address = await asyncio.to_thread(lambda daemon: daemon.address, self._daemon)
        return self.address

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._daemon is not None
        self._daemon.process.send_signal(number)

    async def kill(self) -> None:
        """End it as a power cut would."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            await asyncio.to_thread(daemon.kill)

    @contextlib.asynccontextmanager
    async def stubs(self) -> AsyncIterator[Service]:
        """Stubs to it, as it stands now."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            yield Service(channel)


async def publish(nation: Process, policy: policy_pb2.Policy) -> None:
    """Publish until it is acknowledged, whatever happens to the nation meanwhile; once, by its request id."""
    request = PublishPolicyRequest(policy=policy, request_id=str(uuid.uuid4()))

    async def is_acknowledged() -> bool:
        async with grpc.aio.insecure_channel(nation.address) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await PolicyAdminServiceStub(channel).PublishPolicy(request, timeout=2.0)
                return True
        return False

    await until(is_acknowledged)


async def test_a_province_has_exactly_what_the_nation_published_after_any_kills(
    tmp_path: Path, sqlite_url: MakeUrl, postgres_url: MakeUrl
) -> None:
    """Both nodes are killed while publications come, Henan starts without the nation, and the nation is frozen.

    Nothing is lost or stored twice, and Henan always answers by the nation's last publication that it has.
    """
    nation = Process(tmp_path, sqlite_url("policy"), jurisdiction="000000")
    async with link_to(await nation.start()) as link:
        henan = Process(
            tmp_path,
            postgres_url("policy"),
            jurisdiction="410000",
            upstream="127.0.0.1:1",
            upstream_policy=link.address,
        )
        await henan.start()
        try:
            await publish(nation, make_floor())
            publishing = asyncio.ensure_future(_publish_all(nation))
            await _reaches(henan, PUBLICATIONS // 6)
            await henan.kill()
            await henan.start()
            await _reaches(henan, PUBLICATIONS // 3)
            await _is_founded(henan)
            await nation.kill()
            await _check_floor(henan)
            await henan.kill()
            await henan.start()
            await _check_floor(henan)
            link.lead_to(await nation.start())
            await _reaches(henan, PUBLICATIONS // 2)
            nation.signal(signal.SIGSTOP)
            await _check_floor(henan)
            nation.signal(signal.SIGCONT)
            await publishing
            await _reaches(henan, PUBLICATIONS)
            async with nation.stubs() as at_the_nation, henan.stubs() as in_henan:
                withdrawal = WithdrawPolicyRequest(name=f"{NATION_POLICY}@{PUBLICATIONS}", reason="over")
                await at_the_nation.admin.WithdrawPolicy(withdrawal)
                published = await revisions(at_the_nation, NATION_POLICY)
                assert len(published) == PUBLICATIONS

                async def is_the_same() -> bool:
                    return await revisions(in_henan, NATION_POLICY) == published

                await until(is_the_same)
                assert await in_henan.governing() == f"{NATION_POLICY}@{PUBLICATIONS - 1}"
        finally:
            await nation.kill()
            await henan.kill()


async def _publish_all(nation: Process) -> None:
    for number in range(1, PUBLICATIONS + 1):
        await publish(nation, make_policy(NATION_POLICY, hours=number))


async def _reaches(henan: Process, number: int) -> None:
    """Wait until so many revisions are in Henan."""
    async with henan.stubs() as stubs:

        async def is_there() -> bool:
            return len(await revisions(stubs, NATION_POLICY)) >= number

        await until(is_there)


async def _is_founded(henan: Process) -> None:
    """Wait until Henan answers. Each kill may have ended its founding, and a founding needs the nation."""
    async with henan.stubs() as stubs:

        async def answers() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await resolve(stubs)
                return True
            return False

        await until(answers)


async def _check_floor(henan: Process) -> None:
    """The nation's floor and policy hold in Henan, which says up to when it knows them."""
    async with henan.stubs() as stubs:
        effective = await resolve(stubs)
        assert effective.floor == f"{FLOOR}@1"
        assert effective.governing.startswith(f"{NATION_POLICY}@")
        assert await nation_as_of(stubs) > 0
