"""The real services that the checks ask: a nation, a province, and a province whose nation never answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lab_pb2, lab_service_pb2, upload_pb2, upload_service_pb2

from clients.examples.node import ALL, Node
from services.domain.instant import HOUR
from services.domain.names import is_uscc
from services.runtime.clock import SystemClock
from tests.support.client.forked_node import forked_node
from tests.support.link import link_to
from tests.support.results.factories import make_tube
from tests.support.secrets import write_secret
from tests.support.verification.node import Callers, calling

REGION = "220502"
"""The place of the checks, where results count for 48 hours."""
TWO_RULES_REGION = "220602"
"""A place where results count for 24 hours, and for 48 hours if the holder comes from another province."""
MANY_LABS = 1_200
MANY_LABS_REGION = "220300"
BATCH_PERSONS = 500
"""The persons from 0 on, whose results are stored before the checks begin."""
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CALLS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class World:
    """Addresses of services by their names."""

    province: Mapping[str, str]
    cut_off: Mapping[str, str]
    """A province whose link to the nation is frozen."""
    callers: Callers

    async def register(self, number: int) -> str:
        """Register a new laboratory at the province. Return its name."""
        return await register_lab(self.callers, number, "220500")


def make_uscc(number: int) -> str:
    """Return the code of a made-up laboratory of Tonghua, with its check character."""
    return next(code for last in _ALPHABET if is_uscc(code := f"91220501MA{number:07d}{last}"))


async def register_lab(callers: Callers, number: int, region: str) -> str:
    """Register a made-up laboratory. Return its name."""
    name = f"labs/{make_uscc(number)}"
    lab = lab_pb2.Lab(name=name, display_name=f"示例检验所{number}", region=region)
    await callers.labs.CreateLab(lab_service_pb2.CreateLabRequest(lab=lab))
    return name


def batch_lab() -> str:
    """Return the laboratory whose results are stored before the checks begin."""
    return f"labs/{make_uscc(MANY_LABS)}"


async def _furnish(callers: Callers, labs: int) -> None:
    """Publish the policies, register laboratories and upload the results that many checks read."""
    await callers.publish("220500", 48 * HOUR)
    await callers.publish("220600", 24 * HOUR, origin=policy_pb2.TRAVELER_ORIGIN_SAME_PROVINCE)
    await callers.publish(
        "220600", 48 * HOUR, origin=policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE, policy_id="outside", document="example"
    )
    slots = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def register(number: int) -> None:
        async with slots:
            await register_lab(callers, number, MANY_LABS_REGION)

    await asyncio.gather(*map(register, range(labs)))
    lab = await register_lab(callers, MANY_LABS, "220500")
    reported = SystemClock().now() - HOUR
    tubes = [make_tube(person, reported=reported) for person in range(BATCH_PERSONS)]
    frames = [
        upload_service_pb2.UploadResultsRequest(start=upload_pb2.UploadStart(lab=lab, upload_id="before")),
        upload_service_pb2.UploadResultsRequest(batch=upload_pb2.TubeBatch(tubes=tubes)),
    ]
    [acknowledged] = [answer async for answer in callers.uploads.UploadResults(iter(frames))]
    assert acknowledged.accepted_count == BATCH_PERSONS, acknowledged


@contextlib.asynccontextmanager
async def running_world(directory: Path) -> AsyncIterator[World]:
    """Run the nodes until the block ends."""
    pepper = write_secret(directory / "pepper-of-the-nation")

    def open_node(stack: contextlib.ExitStack, region: str, name: str, **more: str) -> Node:
        variables = {"HUTONG_JURISDICTION": region, "HUTONG_PEPPER_FILE": str(pepper), "HUTONG_UPLOAD_WORKERS": "0"}
        return stack.enter_context(forked_node(directory / name, [ALL], variables | more))

    with contextlib.ExitStack() as nodes:
        nation = await asyncio.to_thread(open_node, nodes, "000000", "nation")
        upstream = nation.addresses["results"]
        async with link_to(upstream) as frozen:
            frozen.freeze()
            # A node publishes once it was founded by the Policy above it. Two nodes of one region need two of these.
            above = nodes.enter_context(forked_node(directory / "nation-of-cut-off", ["policy"]))
            policies = {"province": nation.addresses["policy"], "cut-off": above.addresses["policy"]}

            async def open_below(name: str, results: str) -> Node:
                joined = {"HUTONG_UPSTREAM": results, "HUTONG_UPSTREAM_POLICY": policies[name]}
                return await asyncio.to_thread(open_node, nodes, "220000", name, **joined)

            province, cut_off = await asyncio.gather(
                open_below("province", upstream), open_below("cut-off", frozen.address)
            )
            async with calling(province.addresses) as callers, calling(cut_off.addresses) as others:
                await asyncio.gather(_furnish(callers, MANY_LABS), _furnish(others, 0))
                yield World(province.addresses, cut_off.addresses, callers)
