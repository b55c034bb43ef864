"""Budgets: refuses calls beyond what their caller may have, and callers that HUTONG_ACCESS_FILE excludes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.access.v1 import access_pb2
from hutong_texts import english

from services.domain.errors import HutongError, PermissionDenied
from services.runtime.call import UNKNOWN, current_call
from services.runtime.caller import Caller
from services.runtime.clock import Clock
from services.runtime.configuration.settings import Settings
from services.runtime.reloading import ReloadedFiles
from services.runtime.server.access.access_file import NO_RULES, AccessRules, read_access_file
from services.runtime.server.access.budgets import UNITS, Account, Accounts
from services.runtime.server.access.permits import value_at
from services.runtime.server.batches import Refused, answer_others
from services.runtime.server.interceptors.authorization import describe_method, read_rules
from services.runtime.server.interceptors.decoding import refuse_unreadable
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler


class Budgets:
    """Counts calls and persons by their callers. Without an access file it wraps nothing for local callers.

    Attributes:
        accounts: the counts by caller.
        reloaded: the access file, which is read again when it changes; empty without one.
    """

    def __init__(self, settings: Settings, clock: Clock, *, is_shared: bool) -> None:
        """`is_shared` says that other workers of a group are sent the counts."""
        self._clock = clock
        self._rules = NO_RULES
        self.accounts = Accounts(clock, NO_RULES.budget_of, is_shared=is_shared)
        self._is_idle = settings.tls.client_ca_file is None and settings.access_file is None
        self.reloaded: list[ReloadedFiles[AccessRules]] = []
        file = settings.access_file
        if file is not None:
            read = ReloadedFiles("HUTONG_ACCESS_FILE", [file], lambda: read_access_file(file), self._use_rules)
            self.reloaded.append(read)

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Refuse the call, or the items of a batch that are about too many persons."""
        if self._is_idle or not method.served:
            return proceed
        plan = _Plan(method)
        kinds = ("calls", "heavy_calls") if plan.is_heavy else ("calls",)

        async def handle(request: Any, context: Context) -> Any:
            account = self._admit()
            if account is None:
                return await proceed(request, context)
            account.pay(plan.units)
            account.begin(kinds)
            try:
                if method.request_streaming:
                    request = self._counted(plan, account, request)
                elif plan.batch:
                    return await self._answer_batch(plan, account, request, context, proceed)
                elif plan.person:
                    account.ask_about(plan.read_person(request))
                response = await proceed(request, context)
                _count_misses(account)
                return response
            finally:
                account.end(kinds)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Refuse the stream, or messages that exceed the caller's budget of persons.

        Such a message ends the stream, unless the method answers each question by itself.
        """
        if self._is_idle or not method.served:
            return proceed
        plan = _Plan(method)

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            account = self._admit()
            if account is None:
                async for response in proceed(request, context):
                    yield response
                return
            account.pay(plan.units)
            with account.open("streams"):
                if method.request_streaming:
                    request = self._counted(plan, account, request)
                elif plan.person:
                    account.ask_about(plan.read_person(request))
                async for response in proceed(request, context):
                    _count_misses(account)
                    yield response

        return handle

    def _admit(self) -> Account | None:
        """Return the caller's account; None for one without limits. Record in the call what the access file permits.

        Raises:
            PermissionDenied: NOT_PERMITTED, the access file excludes the caller's region or this time of day.
        """
        call = current_call.get()
        caller = call.caller if call is not None else UNKNOWN
        # Most nodes narrow no grant.
        if self._rules.grants:
            self._require_admitted(caller)
            if call is not None:
                call.bare_number = self._rules.lets_bare_number(caller, self._clock.now())
        return self.accounts.of(caller)

    def _require_admitted(self, caller: Caller) -> None:
        if self._rules.grants and not self._rules.admits(caller, self._clock.now()):
            raise PermissionDenied(
                "NOT_PERMITTED",
                english("this node does not admit the caller, at this time or at all"),
                metadata={"role": caller.role, "needed": "a region and a time of day that this node admits"},
            )

    async def _counted(self, plan: _Plan, account: Account, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self._require_admitted(account.caller)
            if plan.person:
                try:
                    account.ask_about(plan.read_person(request))
                except HutongError as error:
                    if not plan.answers_each:
                        raise
                    yield Refused(request, error)
                    continue
            yield request

    async def _answer_batch(
        self, plan: _Plan, account: Account, request: Any, context: Context, proceed: UnaryHandler
    ) -> Any:
        refuse_unreadable(request)
        refused: dict[int, HutongError] = {}
        for index, item in enumerate(getattr(request, plan.batch)):
            try:
                account.ask_about(plan.read_person(item))
            except HutongError as error:
                refused[index] = error

        async def answer(others: Any, context: Context) -> Any:
            response = await proceed(others, context)
            _count_misses(account)
            return response

        assert plan.described is not None
        return await answer_others(plan.described, plan.batch, request, refused, context, answer)

    def _use_rules(self, rules: AccessRules) -> None:
        self._rules = rules
        self.accounts.use_budgets(rules.budget_of)


class _Plan:
    """What the contract says of a method, read once.

    Attributes:
        person: the path of the document of the person that a request, or an item of a batch, is about; empty for none.
        batch: the field of the items if the method is a batch about persons.
        answers_each: whether the method answers each message of a stream with a result or an error of its own.
    """

    def __init__(self, method: Method) -> None:
        rules = read_rules(method)
        self.described = describe_method(method)
        self.is_heavy = rules.cost == access_pb2.COST_HEAVY
        self.units = UNITS.get(rules.cost, 1)
        self.person = rules.person
        self.batch = rules.batch if rules.person else ""
        self._is_nested = len(rules.person) > 1
        answer = self.described.output_type.fields_by_name if self.described is not None else {}
        self.answers_each = method.request_streaming and {"correlation_id", "error"}.issubset(answer)

    def read_person(self, request: Any) -> int | None:
        """Return a hash of the person; None if the request names none.

        Workers of one group have the same key of the hash (PYTHONHASHSEED). Other processes have keys of their own.

        Each name makes another hash. A caller that tries out names for one number therefore asks about a new person
        each time. Every holder's token counts as a person of its own, because only the service can read it.
        """
        refuse_unreadable(request)
        document = self._document(request)
        if document is not None:
            return hash((document.type, document.number, document.issuing_country, document.name))
        asked = value_at(request, self.person[:-1]) if self._is_nested else request
        token = getattr(asked, "holder_token", "")
        return hash(token) if token else None

    def _document(self, request: Any) -> Any:
        if self._is_nested:
            return value_at(request, self.person)
        (field,) = self.person
        return getattr(request, field) if request.HasField(field) else None


def _count_misses(account: Account) -> None:
    """Count the misses of the current call that are not counted yet."""
    call = current_call.get()
    if call is not None and call.misses:
        misses, call.misses = call.misses, 0
        account.count_misses(misses)
