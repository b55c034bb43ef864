"""The link to the node above: everything that a node does with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub

from services.domain.subject import Pepper
from services.results.exchange.model import Change
from services.results.exchange.upstream.below import StatementsBelow
from services.results.exchange.upstream.nation_client import NationClient
from services.results.exchange.upstream.notification_listener import NotificationListener
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.sender import Sender
from services.results.exchange.upstream.store import UpstreamStore
from services.results.exchange.upstream.subscription_client import MAX_SUBSCRIBED, SubscriptionClient, positions_of
from services.results.exchange.upstream.tree_check import check_tree
from services.results.limits import ResultsLimits
from services.results.timing import ResultsTiming
from services.runtime.background import Job
from services.runtime.client.channels import Connector
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.clock import Clock
from services.runtime.configuration.settings import Settings

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub


class UpstreamLink:
    """Sends changes and look-ups to the node above, and receives notifications from it.

    Attributes:
        nation: asks the nation about subjects for a look-up.
        subscriptions: subscribes to subjects at the nation.
    """

    def __init__(
        self,
        settings: Settings,
        store: UpstreamStore,
        notifications: NotificationStore,
        pepper: Pepper,
        clock: Clock,
        timing: ResultsTiming,
        limits: ResultsLimits,
        state_below: Callable[[], StatementsBelow] | None = None,
    ) -> None:
        region = settings.jurisdiction
        open_to_nation = Connector(settings.upstream, settings)
        self._check_seconds = timing.upstream_check
        self._region = region
        self._open_to_nation = open_to_nation
        self._stub: ReconnectingStub[ExchangeServiceAsyncStub] = ReconnectingStub(open_to_nation, ExchangeServiceStub)
        self.nation = NationClient(self._stub, region, settings.source_seconds)
        self.subscriptions = SubscriptionClient(self._stub, region, timing)
        self._notifications = notifications
        self._sender = Sender(store, open_to_nation, region, pepper, clock, timing, limits, state_below)
        self._listener = NotificationListener(notifications, open_to_nation, self.subscriptions, region, pepper, timing)

    async def check_tree(self) -> None:
        """Check that the node above serves this node. Raises BadSetting if it does not.

        If the node above does not answer, no error is raised.
        """
        await check_tree(self._open_to_nation, self._region, self._check_seconds)

    async def subscribe_above(self, subject_keys: Sequence[bytes]) -> None:
        """Subscribe to subjects and store what the node above has of them. Raises Unavailable UPSTREAM_UNAVAILABLE."""
        for start in range(0, len(subject_keys), MAX_SUBSCRIBED):
            some = subject_keys[start : start + MAX_SUBSCRIBED]
            found = await self.subscriptions.subscribe_each(some, nationwide=True)
            keys = {key for subject in found for key in subject.subject_keys}
            changes: list[Change] = []
            for subject in found:
                changes += [*subject.links, *subject.replicas]
            await self._notifications.apply(changes, None, sorted(keys.union(some)), positions_of(found))

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The background jobs: sending, counting the backlog, and listening."""
        return (*self._sender.jobs, self._listener.run)

    async def close(self) -> None:
        """Close the connection for look-ups. Unacknowledged changes are sent again when the service starts next."""
        await self._stub.close()
