"""One check of one client over one network: what it may use, and the commands that most checks share."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hutong.results.v1.upload_pb2 import Tube
from hutong.results.v1.upload_service_pb2 import UploadResultsResponse

from services.domain.instant import HOUR
from services.runtime.clock import SystemClock
from tests.support.conformance.adapter import Adapter, ClientError, Operation, read_json, to_json
from tests.support.conformance.fake import Answer, serving_fake
from tests.support.conformance.network import Network
from tests.support.conformance.world import World
from tests.support.link import Link
from tests.support.results.factories import make_tube

UPLOADS = "hutong.results.v1.UploadService"
RESULTS = "hutong.results.v1.ResultsService"
LABS = "hutong.results.v1.LabService"
VERIFICATION = "hutong.verification.v1.VerificationService"
REFUSALS = "hutong.verification.v1.RefusalService"
TIMEOUT_MS = 60_000
"""The deadline of a call that must succeed, with a wide margin for two delayed handshakes."""
PERSONS = 1_000
"""The persons of a check, whose numbers no other check uses."""
_case_numbers = itertools.count(10)


class Case:
    """A check that is run.

    Attributes:
        first: the number of the first person that the check may use.
        directory: an empty directory of the check.
    """

    def __init__(self, adapter: Adapter, network: Network, world: World, directory: Path) -> None:
        self.adapter = adapter
        self.network = network
        self.world = world
        self.directory = directory
        self.number = next(_case_numbers)
        self.first = self.number * PERSONS
        self.reported = SystemClock().now() - HOUR
        self._channels = itertools.count()
        self._lab = ""

    @property
    def is_distant(self) -> bool:
        """Whether each way takes time."""
        return self.network.delay > 0

    async def lab(self) -> str:
        """Return the check's own laboratory, which is registered at the province."""
        if not self._lab:
            self._lab = await self.world.register(100_000 + self.number)
        return self._lab

    def tube(self, index: int = 0, persons: int = 1, **fields: Any) -> Tube:
        """Return a valid tube, which begins with the index-th person of the check."""
        return make_tube(self.first + index, persons, **({"reported": self.reported} | fields))

    def tubes(self, count: int, first: int = 0) -> list[Tube]:
        """Return tubes of one person each."""
        return [self.tube(index) for index in range(first, first + count)]

    @contextlib.asynccontextmanager
    async def channel(
        self, address: str, link: Link | None = None, tls: Mapping[str, str] | None = None
    ) -> AsyncIterator[str]:
        """Let the client connect to a service. Yield the channel's name.

        A check may give a link of its own, and the files for TLS in place of those of the network.
        """
        async with contextlib.AsyncExitStack() as stack:
            if link is None:
                link = await stack.enter_async_context(self.network.link(address))
            name = f"{self.number}-{next(self._channels)}"
            await self.adapter.ask("dial", channel=name, address=link.address, tls=tls or self.network.tls)
            try:
                yield name
            finally:
                with contextlib.suppress(ClientError):
                    await self.adapter.ask("close", channel=name)

    def province(self, service: str) -> contextlib.AbstractAsyncContextManager[str]:
        """Let the client connect to a service of the province."""
        return self.channel(self.world.province[service])

    @contextlib.asynccontextmanager
    async def fake(self, answers: Mapping[str, Answer]) -> AsyncIterator[str]:
        """Let the client connect to methods that the check supplies."""
        async with serving_fake(answers) as address, self.channel(address) as channel:
            yield channel

    async def call(self, channel: str, method: str, request: Any, *, timeout_ms: int = TIMEOUT_MS) -> Any:
        """Make a unary call. Return the response in JSON."""
        result = await self.adapter.ask(
            "call", channel=channel, method=method, request=_json(request), timeout_ms=timeout_ms
        )
        return result["response"]

    def start_upload(
        self, channel: str, lab: str, upload_id: str, tubes: Sequence[Tube], *, batch: int = 0, **fields: Any
    ) -> Operation:
        """Begin an upload in batches of `batch` tubes, or as the client splits them."""
        sent = [to_json(tube) for tube in tubes]
        return self.adapter.start(
            "upload", channel=channel, lab=lab, upload_id=upload_id, tubes=sent, batch=batch, **fields
        )

    async def upload(
        self, channel: str, upload_id: str, tubes: Sequence[Tube], *, batch: int = 0, **fields: Any
    ) -> list[UploadResultsResponse]:
        """Make a whole upload of the check's own laboratory. Return the acknowledgements.

        Their offsets must be in order and without a gap.
        """
        operation = self.start_upload(channel, await self.lab(), upload_id, tubes, batch=batch, **fields)
        offset = fields.get("offset", 0)
        answers = []
        for event in await operation.all("acknowledged"):
            assert event["offset"] == offset, event
            offset += event["tubes"]
            answers.append(read_json(event["response"], UploadResultsResponse()))
        return answers

    async def upload_state(self, channel: str, upload_id: str) -> Any:
        """Return the upload by the session's own method, in JSON; None if the service does not know it."""
        found = await self.adapter.ask("upload_state", channel=channel, lab=await self.lab(), upload_id=upload_id)
        return found["upload"]


def _json(request: Any) -> Any:
    return request if isinstance(request, dict) else to_json(request)


def totals(state: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return the offset and the counts of an upload: accepted, duplicate and rejected persons."""
    names = ("committedOffset", "acceptedCount", "duplicateCount", "rejectedCount")
    offset, accepted, duplicate, rejected = (int(state.get(name, 0)) for name in names)
    return offset, accepted, duplicate, rejected


async def failing(awaitable: Any) -> ClientError:
    """Return the error with which an operation fails. Fail the check if it does not, or if the error is not typed."""
    try:
        result = await awaitable
    except ClientError as error:
        if not error.is_typed:
            raise
        return error
    raise AssertionError(f"it did not fail: {result}")
