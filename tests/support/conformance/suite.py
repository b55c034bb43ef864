"""Runs the checks on the adapters, many at the same time, because most of the time they wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.support.conformance import calling, deciding, uploading
from tests.support.conformance.adapter import running_adapter
from tests.support.conformance.case import Case
from tests.support.conformance.languages import LANGUAGES
from tests.support.conformance.network import Network, distant, near
from tests.support.conformance.world import World, running_world

Check = Callable[[Case], Awaitable[None]]
Key = tuple[str, str, int]
"""A network, a language and the number of a check."""

CHECKS: Sequence[Check] = (
    uploading.ordered_acknowledgements,
    uploading.bad_person,
    uploading.whole_tube,
    uploading.retryable_rejections,
    uploading.cut_anywhere,
    uploading.replay,
    uploading.same_rows_again,
    uploading.changed_field,
    uploading.gap,
    uploading.reused_id,
    uploading.splitting,
    uploading.obeyed_retry_info,
    uploading.ended_and_frozen,
    uploading.prompt_acknowledgement,
    deciding.fresh_token,
    deciding.batch_in_order,
    deciding.stream_out_of_order,
    deciding.unknown_value,
    deciding.scopes,
    deciding.instants,
    deciding.unknown_origin,
    calling.typed_errors,
    calling.deadlines_and_retries,
    calling.pages,
    calling.watching,
)
"""The checks in the order of their numbers, which begin with 1."""
NETWORKS: dict[str, Callable[[Path], Network]] = {"near": lambda _: near(), "distant": distant}
AT_ONCE = {"near": 6, "distant": 24}
"""How many checks run at the same time in a network. Over the distant one they wait nearly all the time."""
_CHECK_SECONDS = 150.0
"""The longest time of a check. Keepalive needs 30 seconds of it."""
LONGEST = 13
"""The number of the check that waits for keepalive. It is begun first."""


class Suite:
    """The chosen checks. Those of a network begin when the first of them is asked for."""

    def __init__(self, directory: Path, chosen: Iterable[Key]) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="conformance", daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        self._outcomes: dict[Key, Future[None]] = {key: Future() for key in chosen}
        self._passes: dict[str, Future[None]] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._world: World | None = None

    def wait(self, network: str, language: str, number: int) -> None:
        """Wait for a check, and raise what made it fail."""
        if network not in self._passes:
            self._passes[network] = self._submit(self._run_network(network))
        self._outcomes[network, language, number].result()

    def close(self) -> None:
        """End everything. If a check is not done, all checks that run are cancelled."""
        self._submit(self._shut()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut(self) -> None:
        if not all(outcome.done() for (network, _, _), outcome in self._outcomes.items() if network in self._passes):
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _submit(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _run_network(self, name: str) -> None:
        """Run the chosen checks of one network on every chosen language."""
        running = asyncio.current_task()
        assert running is not None
        self._tasks.append(running)
        mine = [key for key in self._outcomes if key[0] == name]
        try:
            if self._world is None:
                self._world = await self._stack.enter_async_context(running_world(self._made("world")))
            network = NETWORKS[name](self._made(f"network-{name}"))
            slots = asyncio.Semaphore(AT_ONCE[name])
            languages = list(dict.fromkeys(language for _, language, _ in mine))
            await asyncio.gather(*(self._run_language(name, network, language, slots) for language in languages))
        except BaseException as error:
            for key in mine:
                if not self._outcomes[key].done():
                    self._outcomes[key].set_exception(error)
            raise

    async def _run_language(self, name: str, network: Network, language: str, slots: asyncio.Semaphore) -> None:
        numbers = sorted(key[2] for key in self._outcomes if key[:2] == (name, language))
        numbers.sort(key=lambda number: number != LONGEST)
        directory = self._made(f"{name}-{language}")
        try:
            prepared = LANGUAGES[language]
            command = await asyncio.to_thread(prepared.prepare, self._made(f"built-{language}"))
            async with running_adapter(command, prepared.folder, directory / "adapter.log") as adapter:

                async def check(number: int) -> None:
                    outcome = self._outcomes[name, language, number]
                    async with slots:
                        case = Case(adapter, network, self._running_world(), self._made(f"{name}-{language}/{number}"))
                        try:
                            async with asyncio.timeout(_CHECK_SECONDS):
                                await CHECKS[number - 1](case)
                        except BaseException as error:  # noqa: BLE001 - is raised in the test
                            outcome.set_exception(error)
                        else:
                            outcome.set_result(None)

                await asyncio.gather(*map(check, numbers))
        except BaseException as error:  # noqa: BLE001 - is raised in the tests
            for number in numbers:
                if not self._outcomes[name, language, number].done():
                    self._outcomes[name, language, number].set_exception(error)

    def _running_world(self) -> World:
        assert self._world is not None
        return self._world

    def _made(self, name: str) -> Path:
        made = self._directory / name
        made.mkdir(parents=True, exist_ok=True)
        return made
