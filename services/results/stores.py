"""The stores of the Results service, put together on one database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from services.results.changelog.log import ChangeLog
from services.results.corrections.store import CorrectionStore
from services.results.documents.store import DocumentStore
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.downstream.below import NodesBelow
from services.results.exchange.downstream.missing_report_routing import MiddleRouter, TopRouter
from services.results.exchange.homes.register import require_own_home
from services.results.holds.store import HoldStore
from services.results.idempotency import requests
from services.results.labs.cache import LabCache
from services.results.labs.store import LabStore
from services.results.limits import ResultsLimits
from services.results.lookup.store import LookupStore
from services.results.missing_reports.routing import MissingReportRouter, list_at_new_home
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.replicas.replicas import ReadReplicas
from services.results.timeliness.store import TimelinessStore
from services.results.timeliness.totals import TotalsMaintainer, move_lab
from services.results.timing import ResultsTiming
from services.results.upload.store import UploadStore
from services.results.watch.store import WatchStore
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.idempotency import IdempotentWriter


class Stores:
    """The stores of the Results service on one database. They share one change log.

    `secrets` are the keys of the hashes by which repeated requests are recognised. `node` is the region of this node.
    `joined` says that the node replicates to the nation. `replicas` answer those look-ups that may lag behind.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        secrets: Sequence[bytes],
        node: str = "",
        *,
        joined: bool = False,
        timing: ResultsTiming | None = None,
        limits: ResultsLimits | None = None,
        replicas: ReadReplicas | None = None,
    ) -> None:
        self.database = database
        self.timing = timing or ResultsTiming()
        self.limits = limits = limits or ResultsLimits()
        self.change_log = ChangeLog([list_at_new_home, NodesBelow(node).take], sends_keys=joined)
        self.writer = writer = IdempotentWriter(database, requests, secrets)
        self.lab_cache = cache = LabCache()
        self.partitions = PartitionMaintainer(database, clock, self.timing)
        self.router: MissingReportRouter
        self.router = MiddleRouter(self.change_log, limits) if joined else TopRouter(self.change_log, limits)
        self.applier = ChangeApplier(self.change_log, self.router, relays=joined, limits=limits)
        self.labs = LabStore(database, writer, self.change_log, cache, partial(_prepare_registration, node))
        self.documents = DocumentStore(database, writer, self.change_log, node)
        self.timeliness = TimelinessStore(database)
        self.delay_totals = TotalsMaintainer(database, self.timing)
        self.uploads = UploadStore(database, self.change_log, self.partitions, node)
        self.lookup = LookupStore(database, clock, cache, limits, joined=joined, replicas=replicas)
        self.holds = HoldStore(database, writer, node)
        self.watch = WatchStore(database, cache)
        self.corrections = CorrectionStore(database, writer, self.change_log, self.partitions, secrets, limits, node)


def _prepare_registration(node: str, connection: Connection, uscc: str, region: str, caller_region: str) -> None:
    """Refuse a registration that is another supervisor's, and prepare the totals. Raises PermissionDenied."""
    require_own_home(connection, uscc, caller_region, node)
    move_lab(connection, uscc, region)
