"""Publishes from separate processes, each with its own store on one database."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, PublishPolicyResponse

from services.domain.errors import HutongError
from services.domain.instant import DAY, Instant, to_timestamp
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.publisher import PolicyPublisher
from services.policy.store import PolicyStore
from services.runtime.clock import SystemClock
from services.storage.engine import open_database

START: Instant = SystemClock().now() + DAY


def make_request(
    policy_id: str = "venue", region: str = "410100", *, title: str = "made up", **fields: object
) -> PublishPolicyRequest:
    """Return a publication for all purposes: 48 h from the report, in force from tomorrow on."""
    policy = policy_pb2.Policy(name=f"jurisdictions/{region}/policies/{policy_id}", title=title)
    policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    policy.test_required.window.duration.seconds = 172_800
    policy.effective_start_time.CopyFrom(to_timestamp(START))
    return PublishPolicyRequest(policy=policy, **fields)  # type: ignore[arg-type]


def start_publisher(url: str, request: PublishPolicyRequest) -> tuple[SpawnProcess, Connection]:
    """Start a process that publishes once.

    It sends "ready" when its cache is filled, waits for a message, publishes, and sends the policy's name or the
    error's reason.
    """
    return _start(_publish, url, request)


def start_holder(url: str) -> tuple[SpawnProcess, Connection]:
    """Start a process that sends "publishing" in the middle of a publication and stays there."""
    return _start(_hold, url, make_request())


def _start(work: object, url: str, request: PublishPolicyRequest) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=work, args=(child, url, request), daemon=True)  # type: ignore[arg-type]
    process.start()
    return process, parent


def _publish(pipe: Connection, url: str, request: PublishPolicyRequest) -> None:
    async def work() -> str:
        store = PolicyStore(open_database(url))
        cache = PolicyBookCache(store, SystemClock())
        await cache.refresh()
        pipe.send("ready")
        pipe.recv()
        try:
            response = await PolicyPublisher(store, cache, "000000", SystemClock()).publish(request)
        except HutongError as error:
            return error.reason
        return response.policy.name

    pipe.send(asyncio.run(work()))


def _hold(pipe: Connection, url: str, request: PublishPolicyRequest) -> None:
    def publish(_connection: object) -> PublishPolicyResponse:
        pipe.send("publishing")
        pipe.recv()
        raise AssertionError("was to be killed")

    asyncio.run(PolicyStore(open_database(url)).change_once(request, publish, PublishPolicyResponse, START))
