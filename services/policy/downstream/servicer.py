"""Translates the RPC of PolicyExchangeService. The contract documents it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.policy.v1.policy_exchange_service_pb2 import SendPoliciesRequest, SendPoliciesResponse
from hutong.policy.v1.policy_exchange_service_pb2_grpc import PolicyExchangeServiceServicer

from services.policy.downstream.receiver import PolicyReceiver

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class PolicyExchangeServicer(PolicyExchangeServiceServicer):
    """PolicyExchangeService: receives the policies of the nodes below."""

    def __init__(self, receiver: PolicyReceiver) -> None:
        self._receiver = receiver

    async def SendPolicies(
        self, requests: AsyncIterator[SendPoliciesRequest], context: Context
    ) -> AsyncIterator[SendPoliciesResponse]:
        async for response in self._receiver.receive(requests):
            yield response
