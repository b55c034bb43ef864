"""Budgets: refuses calls beyond the budgets of their callers, and callers that HUTONG_ACCESS_FILE excludes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import partial
from typing import Any

from hutong.access.v1 import access_pb2
from hutong_texts import english

from services.domain.errors import HutongError, PermissionDenied
from services.runtime.call import Call, current_call
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

_STREAMS = ("streams",)


class Budgets:
    """Counts calls and persons by caller. For local callers the layer wraps nothing, unless there is an access file.

    Attributes:
        accounts: the counts by caller.
        reloaded: the access file, which is read again when it changes; empty without one.
    """

    def __init__(self, settings: Settings, clock: Clock, *, is_shared: bool) -> None:
        """`is_shared` says that the counts are sent to the other workers of a group."""
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
        """Refuse the call if it exceeds a budget. Of a batch, refuse the items about persons beyond the budget."""
        if self._is_idle or not method.served:
            return proceed
        plan = _Plan(method)
        kinds = ("calls", "heavy_calls") if plan.is_heavy else ("calls",)
        units, is_streaming, batch = plan.units, method.request_streaming, plan.batch
        read_person = plan.read_person if plan.person else None
        accounts = self.accounts

        def handle(request: Any, context: Context) -> Awaitable[Any]:
            call = current_call.get()
            assert call is not None
            # Most nodes narrow no grant. `_admit` would return the same account, but costs one more call of a function.
            account = self._admit(call) if self._rules.grants else accounts.of(call.caller)
            if account is None:
                return proceed(request, context)
            # The clock is read once for both budgets, because this function runs for each Verify.
            now = self._clock.now()
            account.pay(units, now)
            account.begin(kinds)
            # The count ends in this function, so that no coroutine is needed here.
            call.at_end = partial(_end, account, kinds)
            if is_streaming:
                return proceed(self._counted(plan, account, call, request), context)
            if batch:
                return self._answer_batch(plan, account, request, context, proceed)
            if read_person is not None:
                account.ask_about(read_person(request), now)
            return proceed(request, context)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Refuse the stream, or those of its messages that exceed the caller's budget of persons.

        A refused message ends the stream, unless the method answers each question by itself.
        """
        if self._is_idle or not method.served:
            return proceed
        plan = _Plan(method)

        def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call = current_call.get()
            assert call is not None
            account = self._admit(call)
            if account is None:
                return proceed(request, context)
            account.pay(plan.units)
            account.begin(_STREAMS)
            call.at_end = partial(_end, account, _STREAMS)
            if method.request_streaming:
                request = self._counted(plan, account, call, request)
            elif plan.person:
                account.ask_about(plan.read_person(request))
            return proceed(request, context)

        return handle

    def _admit(self, call: Call) -> Account | None:
        """Return the caller's account; None for a caller without limits.

        Store in the call what the access file permits.

        Raises:
            PermissionDenied: NOT_PERMITTED, the access file excludes the caller's region or this time of day.
        """
        caller = call.caller
        if self._rules.grants:
            self._require_admitted(caller)
            call.bare_number = self._rules.lets_bare_number(caller, self._clock.now())
        return self.accounts.of(caller)

    def _require_admitted(self, caller: Caller) -> None:
        if not self._rules.admits(caller, self._clock.now()):
            raise PermissionDenied(
                "NOT_PERMITTED",
                english("this node does not admit the caller, at this time or at all"),
                metadata={"role": caller.role, "needed": "a region and a time of day that this node admits"},
            )

    async def _counted(
        self, plan: _Plan, account: Account, call: Call, requests: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for request in requests:
            if call.misses:
                _count_misses(account, call)
            if self._rules.grants:
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

        assert plan.described is not None
        return await answer_others(plan.described, plan.batch, request, refused, context, proceed)

    def _use_rules(self, rules: AccessRules) -> None:
        self._rules = rules
        self.accounts.use_budgets(rules.budget_of)


class _Plan:
    """What the contract says of a method, read once.

    Attributes:
        person: the path of the document of the person that a request, or an item of a batch, is about; empty for none.
        batch: the field of the items if the method is a batch about persons.
        answers_each: whether the method answers each message of a stream with its own result or error.
    """

    def __init__(self, method: Method) -> None:
        rules = read_rules(method)
        self.described = describe_method(method)
        self.is_heavy = rules.cost == access_pb2.COST_HEAVY
        self.units = UNITS.get(rules.cost, 1)
        self.person = rules.person
        self.batch = rules.batch if rules.person else ""
        self._parents, self._document = rules.person[:-1], rules.person[-1] if rules.person else ""
        answer = self.described.output_type.fields_by_name if self.described is not None else {}
        self.answers_each = method.request_streaming and {"correlation_id", "error"}.issubset(answer)

    def read_person(self, request: Any) -> int | None:
        """Return a hash of the person; None if the request names none.

        All workers of one group use the same key for the hash (PYTHONHASHSEED). Other processes use other keys.

        The hash depends on the name that is stated with the document, and on the reports that are shown with it. A
        caller that tries many names or report numbers for one number therefore asks about a new person each time. Each
        holder's token counts as another person, because only the service can read the token.
        """
        refuse_unreadable(request)
        asked = value_at(request, self._parents) if self._parents else request
        if asked is not None and asked.HasField(self._document):
            # Encoding the document costs less than reading its four fields.
            stated: object = getattr(asked, self._document).SerializePartialToString()
        elif token := getattr(asked, "holder_token", ""):
            stated = token
        else:
            return None
        shown = getattr(asked, "evidence", ())
        if shown:
            return hash((stated, *[(one.lab, one.lab_name, one.report_number, one.signed_report) for one in shown]))
        return hash(stated)


def _end(account: Account, kinds: Sequence[str], call: Call) -> None:
    """Count the end of a call."""
    if call.misses:
        _count_misses(account, call)
    account.end(kinds)


def _count_misses(account: Account, call: Call) -> None:
    """Count those misses of a call that are not counted yet."""
    misses, call.misses = call.misses, 0
    account.count_misses(misses)
