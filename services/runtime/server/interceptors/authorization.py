"""Authorization: refuses every call that no grant of the contract permits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from hutong.access.v1 import access_pb2
from hutong_texts import english

from services.domain.errors import HutongError, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from services.runtime.audit import note_hidden
from services.runtime.call import Call, current_call
from services.runtime.caller import Caller
from services.runtime.server.access.identify import Identifier
from services.runtime.server.access.permits import (
    PERMITTED,
    Hidden,
    Missing,
    Owner,
    RoleRules,
    Rules,
    Ruling,
    Unsettled,
    permits,
    settle,
)
from services.runtime.server.batches import answer_others
from services.runtime.server.interceptors.decoding import refuse_unreadable
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

OwnerOf = Callable[[str], Awaitable[Owner]]
"""Returns the owner of a stored object by its name. Raises NotFound if there is no such object."""

_REFLECTION_RULES = Rules(
    access_pb2.Access(
        grants=[access_pb2.Grant(role=access_pb2.ROLE_OPERATOR, bind=access_pb2.BIND_ANY)], cost=access_pb2.COST_LIGHT
    )
)
"""The access rules of reflection, whose methods are not in this contract. The contract is no secret. Reflection is for
operators only, because its answers are large."""
_NO_RULES = Rules(access_pb2.Access())


class Authorization:
    """Applies the contract's grants, read once for each method. On a server with local callers the layer wraps nothing.

    `owner_of` asks the service's store for the owner of an object. `node` is the region of this node.
    """

    def __init__(self, identifier: Identifier, owner_of: OwnerOf, node: str) -> None:
        self._identifier = identifier
        self._owner_of = owner_of
        self._node = node

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Refuse the call if it is not permitted. Of a batch, refuse the items that are not permitted."""
        if self._identifier.is_open or not method.served:
            return proceed
        rules = read_rules(method)

        def handle(request: Any, context: Context) -> Awaitable[Any]:
            call, role = _open(rules)
            caller = call.caller
            if role.is_free:
                return proceed(request, context)
            if method.request_streaming:
                return proceed(self._checked(rules, role, call, request), context)
            refuse_unreadable(request)
            if rules.batch:
                return self._answer_batch(method, rules, role, call, request, context, proceed)
            # Most calls are permitted by the region that they state. They need no coroutine, because nothing is awaited
            # for them.
            if role.permits_region(caller, request):
                return proceed(request, context)
            ruling = self._rule(rules, caller, request, call.case)
            if ruling is PERMITTED:
                return proceed(request, context)
            return self._answer_one(rules, caller, ruling, request, context, proceed)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Refuse the stream if its request, or one of its messages, is not permitted."""
        if self._identifier.is_open or not method.served:
            return proceed
        rules = read_rules(method)

        def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call, role = _open(rules)
            if role.is_free:
                return proceed(request, context)
            if method.request_streaming:
                # Each message is checked as it is read. The responses therefore pass through no further generator.
                return proceed(self._checked(rules, role, call, request), context)
            return self._answer_stream(rules, call, request, context, proceed)

        return handle

    async def _answer_stream(
        self, rules: Rules, call: Call, request: Any, context: Context, proceed: StreamHandler
    ) -> AsyncIterator[Any]:
        refuse_unreadable(request)
        await self._settle(rules, call.caller, self._rule(rules, call.caller, request, call.case))
        async for response in proceed(request, context):
            yield response

    async def _checked(
        self, rules: Rules, role: RoleRules, call: Call, requests: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        caller, first = call.caller, True
        async for request in requests:
            refuse_unreadable(request)
            if not role.permits_region(caller, request) and (first or rules.is_stated(caller, request)):
                ruling = self._rule(rules, caller, request, call.case)
                if ruling is not PERMITTED:
                    await self._settle(rules, caller, ruling)
            first = False
            yield request

    async def _settle(self, rules: Rules, caller: Caller, ruling: Ruling) -> None:
        """Return if the request is permitted.

        If the ruling depends on the owner of a stored object, ask for the owner first.

        Raises:
            PermissionDenied: NOT_PERMITTED.
            NotFound: the request is about an object that does not exist or that the caller may not see.
            InvalidArgument: a field is missing that the caller's grants depend on.
        """
        if isinstance(ruling, Unsettled):
            try:
                owner = await self._owner_of(ruling.stored)
            except NotFound:
                raise NotFound.resource(ruling.name) from None
            ruling = settle(caller, ruling, owner)
        if isinstance(ruling, Hidden):
            note_hidden()
            raise NotFound.resource(ruling.name)
        if isinstance(ruling, Missing):
            first, *others = ruling.fields
            text = english("value is required of a caller of this role{value}", value=", or ".join(["", *others]))
            raise InvalidArgument.field(first, text)
        if ruling is not PERMITTED:
            raise _not_permitted(rules, caller)

    async def _answer_one(
        self, rules: Rules, caller: Caller, ruling: Ruling, request: Any, context: Context, proceed: UnaryHandler
    ) -> Any:
        await self._settle(rules, caller, ruling)
        return await proceed(request, context)

    def _rule(self, rules: Rules, caller: Caller, request: Any, case: str) -> Ruling:
        """Rule by the request alone, without a store.

        Raises:
            InvalidArgument: the document of the request is impossible.
        """
        return permits(caller, rules, request, case=case, node=self._node, key_of=self._identifier.subject_key)

    async def _answer_batch(
        self,
        method: Method,
        rules: Rules,
        role: RoleRules,
        call: Call,
        request: Any,
        context: Context,
        proceed: UnaryHandler,
    ) -> Any:
        """Let the service answer the permitted items. Put errors in the places of the other items."""
        refused: dict[int, HutongError] = {}
        items: Sequence[Any] = getattr(request, rules.batch)
        described = describe_method(method)
        assert described is not None
        options = described.input_type.fields_by_name[rules.batch].GetOptions()
        most: int = options.Extensions[validate_pb2.field].repeated.max_items  # type: ignore[index]
        if len(items) > most:
            # The length is checked here and not left to validation, because each item costs time before validation.
            raise InvalidArgument.field(rules.batch, english("must have at most {most} items", most=most))
        caller = call.caller
        for index, item in enumerate(items):
            if role.permits_region(caller, item):
                continue
            try:
                await self._settle(rules, caller, self._rule(rules, caller, item, call.case))
            except HutongError as error:
                refused[index] = error
        return await answer_others(described, rules.batch, request, refused, context, proceed)


def read_rules(method: Method) -> Rules:
    """Return the rules that the contract states for a served method. Without grants no caller may call the method."""
    if method.name.startswith("/grpc.reflection."):
        return _REFLECTION_RULES
    described = describe_method(method)
    return _NO_RULES if described is None else _rules_of(described)


@cache
def _rules_of(described: MethodDescriptor) -> Rules:
    """Return the rules of a method of the contract. Several layers of each server ask for them."""
    return Rules(described.GetOptions().Extensions[access_pb2.access])


def describe_method(method: Method) -> MethodDescriptor | None:
    """Return a method as the contract describes it; None for a method that is not of this contract."""
    _, service, name = method.name.split("/")
    try:
        return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None


def _open(rules: Rules) -> tuple[Call, RoleRules]:
    """Return the current call and the rules of its caller's role. Store in the call what the caller may see.

    Raises:
        Unauthenticated: the caller is not known.
        PermissionDenied: the role may never call the method.
    """
    call = current_call.get() or Call("")
    caller = call.caller
    if not caller.role:
        raise Unauthenticated(
            "NOT_AUTHENTICATED",
            english("the caller is not known: {fault}", fault=caller.fault),
            metadata={"why": caller.fault},
        )
    role = rules.roles.get(caller.role)
    if role is None:
        raise _not_permitted(rules, caller)
    call.view, call.needs_name = role.view, role.needs_name
    return call, role


def _not_permitted(rules: Rules, caller: Caller) -> PermissionDenied:
    return PermissionDenied(
        "NOT_PERMITTED",
        english("the caller may not do this; ErrorInfo lists what the contract grants"),
        metadata={"role": caller.role, "needed": rules.needed},
    )
