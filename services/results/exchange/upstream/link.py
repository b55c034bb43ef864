"""A province's ways to the nation, begun and ended together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub

from services.domain.subject import Pepper
from services.results.exchange.upstream.nation_client import NationClient
from services.results.exchange.upstream.notification_listener import NotificationListener
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.sender import Sender
from services.results.exchange.upstream.store import UpstreamStore
from services.results.exchange.upstream.subscription_client import SubscriptionClient
from services.runtime.client.channels import open_channel
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.clock import Clock
from services.runtime.settings import Settings

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub


class UpstreamLink:
    """What goes up: changes, and questions about persons. What comes down: notifications.

    Attributes:
        nation: asks the nation about persons for a look-up.
        subscriptions: asks it to tell of subjects from now on.
    """

    def __init__(
        self, settings: Settings, store: UpstreamStore, notifications: NotificationStore, pepper: Pepper, clock: Clock
    ) -> None:
        region = settings.jurisdiction
        open_to_nation = partial(open_channel, settings.upstream, settings, dedicated=True)
        self._line: ReconnectingStub[ExchangeServiceAsyncStub] = ReconnectingStub(open_to_nation, ExchangeServiceStub)
        self.nation = NationClient(self._line, region)
        self.subscriptions = SubscriptionClient(self._line, region)
        self._sender = Sender(store, open_to_nation, region, pepper, clock)
        self._listener = NotificationListener(notifications, open_to_nation, self.subscriptions, region, pepper)

    def begin(self) -> None:
        """Send and listen from now on, in the background."""
        self._sender.begin()
        self._listener.begin()

    async def end(self) -> None:
        """Stop; what was under way is taken up when the service starts next."""
        await self._listener.end()
        await self._sender.end()
        await self._line.close()
