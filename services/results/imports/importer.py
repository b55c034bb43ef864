"""ImportResults: copy the nationwide results of a subject into this province's store, with their source nodes."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.results.v1.import_service_pb2 import ImportResultsRequest, ImportResultsResponse
from hutong_texts import english
from sqlalchemy import Connection

from services.domain.errors import FailedPrecondition
from services.domain.names import format_node
from services.domain.region import NATION
from services.domain.subject import Pepper, mask_number
from services.results.documents.key_pairs import pair_keys
from services.results.documents.store import find_all_keys, record_linked_pairs
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.arrival import Arrival
from services.results.exchange.model import Change, Replica, SubscriptionPosition
from services.results.exchange.subscribers import (
    add_subscriptions,
    record_positions,
)
from services.results.exchange.upstream.subscription_client import SubscriptionClient
from services.results.fields import document_from_proto
from services.results.idempotency import requests
from services.results.labs.cache import LabCache
from services.results.lookup.convert import listing_to_proto
from services.results.lookup.listing_queries import list_by_subjects
from services.results.lookup.model import Listing, ResultQuery
from services.results.lookup.pick import MAX_PER_SUBJECT
from services.results.records.partition_maintainer import PartitionMaintainer
from services.runtime.audit import record_change
from services.runtime.call import current_requester
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.idempotency import answer_once, find_answer

_METHOD = ImportResultsRequest.__name__


class Importer:
    """Asks the nation for a subject's results and stores them. Later changes of the results arrive as notifications."""

    def __init__(
        self,
        database: Database,
        subscriptions: SubscriptionClient | None,
        jurisdiction: str,
        pepper: Pepper,
        clock: Clock,
        applier: ChangeApplier,
        partitions: PartitionMaintainer,
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._jurisdiction = jurisdiction
        self._pepper = pepper
        self._clock = clock
        self._applier = applier
        self._partitions = partitions

    async def import_results(self, request: ImportResultsRequest) -> ImportResultsResponse:
        """Import a subject's results and return what is stored here afterwards. The nation itself imports nothing.

        Raises:
            FailedPrecondition: NO_UPSTREAM, this node has no node above it.
            Unavailable: UPSTREAM_UNAVAILABLE, the nation does not answer.
        """
        document = document_from_proto(request.document)
        keys = self._pepper.subject_keys(document)
        if self._jurisdiction == NATION:
            return await self._database.read(self._answer, keys, ())
        if self._subscriptions is None:
            node = format_node(self._jurisdiction)
            raise FailedPrecondition(
                "NO_UPSTREAM", english("this node has no upstream to ask"), metadata={"node": node}
            )
        if request.request_id:
            earlier = await self._database.read(self._find_answer, request, current_requester())
            if earlier is not None:
                return earlier
        subscribed = await self._subscriptions.subscribe(keys)
        await self._partitions.prepare([replica.result.reference_time for replica in subscribed.replicas])
        replicas = [_with_mask(replica, keys, document.number) for replica in subscribed.replicas]
        changes: list[Change] = [*subscribed.links, *replicas]
        return await self._database.write(
            self._store, request, keys, subscribed.subject_keys, changes, subscribed.positions
        )

    def _store(
        self,
        connection: Connection,
        request: ImportResultsRequest,
        keys: Sequence[bytes],
        subject_keys: Sequence[bytes],
        changes: Sequence[Change],
        subscribed_at: Sequence[SubscriptionPosition],
    ) -> ImportResultsResponse:
        now = self._clock.now()

        def run() -> ImportResultsResponse:
            # The node subscribes to the given document even if the nation has no results of it, so that it is notified
            # of later results.
            add_subscriptions(connection, NATION, [*keys, *subject_keys], now)
            applied = self._applier.apply(connection, changes, Arrival(self._jurisdiction, NATION, now))
            record_linked_pairs(connection, pair_keys(keys))
            answer = self._answer(connection, keys, subject_keys, len(applied.stored))
            record_change(connection, count=len(applied.stored))
            record_positions(connection, subscribed_at)
            return answer

        return answer_once(
            connection,
            requests,
            _METHOD,
            request.request_id,
            request,
            now,
            run,
            response_type=ImportResultsResponse,
            secrets=self._pepper.secrets,
        )

    def _find_answer(
        self, connection: Connection, request: ImportResultsRequest, requester: str
    ) -> ImportResultsResponse | None:
        return find_answer(
            connection,
            requests,
            _METHOD,
            request.request_id,
            request,
            response_type=ImportResultsResponse,
            requester=requester,
            secrets=self._pepper.secrets,
        )

    def _answer(
        self, connection: Connection, keys: Sequence[bytes], subject_keys: Sequence[bytes], imported: int = 0
    ) -> ImportResultsResponse:
        """Return the stored results of the subject, by all documents that are linked here or at the nation.

        `keys` are the document's keys under each key version.
        """
        linked = {*find_all_keys(connection, keys), *subject_keys}
        found = list_by_subjects(connection, sorted(linked), ResultQuery(), None, MAX_PER_SUBJECT)
        labs = LabCache()
        labs.refresh(connection, {result.lab for result in found}, self._clock.now())
        listing = Listing(found, labs.standing_at)
        return ImportResultsResponse(test_results=listing_to_proto(listing), imported_count=imported)


def _with_mask(replica: Replica, keys: Sequence[bytes], number: str) -> Replica:
    """Set the masked number of a copy if the copy is of the given document.

    Copies of linked documents stay unchanged.
    """
    if replica.result.subject_key not in keys:
        return replica
    return replica._replace(result=replica.result._replace(masked_number=mask_number(number)))
