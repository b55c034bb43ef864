"""The register of laboratories in the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.labs import queries
from services.results.labs.cache import LabCache
from services.results.labs.model import Lab, LabQuery, SigningKey, StandingChange
from services.results.labs.signing_keys import set_signing_key
from services.runtime.call import current_actor, current_caller
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)


class LabStore:
    """Laboratories with the history of their standing. Every write is durable when it returns.

    `before_registration` is called in the transaction of a registration, with the laboratory, its region and the region
    of the caller. It may refuse the registration.
    """

    def __init__(
        self,
        database: Database,
        writer: IdempotentWriter,
        change_log: ChangeLog,
        cache: LabCache,
        before_registration: Callable[[Connection, str, str, str], None],
    ) -> None:
        self._database = database
        self._writer = writer
        self._change_log = change_log
        self._cache = cache
        self._before_registration = before_registration

    async def create_lab(self, lab: Lab, request: IdempotentRequest[Lab, M]) -> M:
        """Register a laboratory for the current caller, as `queries.create_lab`.

        Raises:
            AlreadyExists: as `queries.create_lab`.
            PermissionDenied: NOT_PERMITTED, the laboratory is another supervisor's (`require_own_home`).
        """
        actor, region = current_actor(), current_caller().region

        def run(connection: Connection) -> Lab:
            self._before_registration(connection, lab.uscc, lab.region, region)
            registered = queries.create_lab(connection, lab, actor, region)
            change = LoggedChange(ChangeKind.LABS, "", [(lab.uscc, 0)], is_new=True)
            self._change_log.record(connection, [change], request.now)
            return registered

        response = await self._writer.write(request, run)
        self._cache.forget(lab.uscc)
        return response

    async def update_lab(self, uscc: str, values: Mapping[str, str], request: IdempotentRequest[Lab, M]) -> M:
        """Change a laboratory's name or contact, as `queries.update_lab`. Raises NotFound or FailedPrecondition."""

        def run(connection: Connection) -> Lab:
            updated, is_changed = queries.update_lab(connection, uscc, values)
            if is_changed:
                self._change_log.record(connection, [LoggedChange(ChangeKind.LABS, "", [(uscc, 0)])], request.now)
            return updated

        response = await self._writer.write(request, run)
        self._cache.forget(uscc)
        return response

    async def set_standing(self, uscc: str, change: StandingChange, request: IdempotentRequest[Lab, M]) -> M:
        """Add an entry to a laboratory's history. Raises NotFound."""

        def run(connection: Connection) -> Lab:
            changed = queries.add_standing(connection, uscc, change)
            self._change_log.record(connection, [LoggedChange(ChangeKind.LABS, "", [(uscc, 0)])], request.now)
            return changed

        response = await self._writer.write(request, run)
        self._cache.forget(uscc)
        return response

    async def set_signing_key(self, uscc: str, key: SigningKey, request: IdempotentRequest[Lab, M]) -> M:
        """Record a key of a laboratory or its revocation. Raises NotFound or FailedPrecondition."""

        def run(connection: Connection) -> Lab:
            set_signing_key(connection, uscc, key)
            self._change_log.record(connection, [LoggedChange(ChangeKind.LABS, "", [(uscc, 0)])], request.now)
            return queries.get_lab(connection, uscc)

        response = await self._writer.write(request, run)
        self._cache.forget(uscc)
        return response

    async def get_lab(self, uscc: str) -> Lab:
        """Return a laboratory with its history. Raises NotFound."""
        return await self._database.read(queries.get_lab, uscc)

    async def list_labs(self, query: LabQuery, after: str, limit: int) -> list[Lab]:
        """Return the laboratories that match a query in order of code, after the code `after`."""
        return await self._database.read_in_bulk(queries.list_labs, query, after, limit)
