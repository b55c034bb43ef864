"""`hutongd purge`: removes old results, and other rows beyond their own age limits, from all three databases."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from functools import partial

from hutong_texts import english, tr
from hutong_texts.layout import pad
from sqlalchemy import Table

from services.audit.purge import purge_audit
from services.command.audit import audit_of
from services.command.databases import check_pepper, is_within_reach, opened
from services.command.operator import operator_name
from services.domain.errors import Unavailable
from services.domain.instant import DAY, Instant, Span, format_instant
from services.policy.retention import purge_policy
from services.policy.tables import deletion_counts as policy_counts
from services.results.records.tables import report_keys
from services.results.retention.model import Deletion, PurgePace, ResultsAges
from services.results.retention.names import ReportName, find_reports
from services.results.retention.purge import purge
from services.results.retention.tables import deletion_counts as results_counts
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.storage.deletion_counts import DeletionCounts
from services.storage.engine import Database
from services.verification.retention import Purge, RetentionAges, purge_verification
from services.verification.retention import deletion_counts as verification_counts

_COUNTS: Mapping[str, Table] = {
    "results": results_counts,
    "verification": verification_counts,
    "policy": policy_counts,
}


def purge_node(settings: Settings, older_than: Span, now: Instant | None = None) -> str:
    """Purge the databases of a node. Return the deletion record for the operator.

    The horizon of results is set first. Verification is purged before results are removed, because the purge of
    Verification asks Results which reports of Verification's decisions are older than the horizon. SQLite databases of
    Verification and Policy on other machines are skipped.

    Raises:
        Unavailable: another purge is under way, or a database is read all the time, so that its log cannot be emptied.
        UnusableDatabase: a database does not have this version's schema.
        BadSetting: a database was filled under another pepper. Nothing is purged.
    """
    now = SystemClock().now() if now is None else now
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(opened(settings, "results"))
        others = {
            name: stack.enter_context(opened(settings, name))
            for name in ("verification", "policy")
            if is_within_reach(settings, name)
        }
        # Under another pepper the audit would get rows that do not fit the others.
        for name, database in {"results": results, **others}.items():
            database.read_now(check_pepper, settings, name)
        ages = ResultsAges(
            uploads=settings.uploads_days * DAY,
            requests=settings.requests_days * DAY,
            missing_reports=settings.missing_reports_days * DAY,
            links=settings.links_days * DAY,
            changes=settings.changes_days * DAY,
            exchange=settings.exchange_days * DAY,
        )
        deletion = purge(
            results,
            now - older_than,
            now,
            ages=ages,
            has_upstream=bool(settings.upstream),
            key_version=settings.pepper().version,
            before_removal=partial(_purge_others, settings, results, others),
            actor=operator_name(),
        )
        lines = [
            tr("deletion {id}", id=deletion.deletion_id),
            f"  {pad(tr('everything reported before'), 27)} {format_instant(deletion.horizon)}",
            f"  {pad(tr('results removed'), 27)} {deletion.result_count}",
            f"  {pad(tr('SHA-256 of their names'), 27)} {deletion.digest}",
        ]
        for name, database in {"results": results, **others}.items():
            counts = DeletionCounts(_COUNTS[name], deletion.deletion_id)
            lines += [f"  {name} {store:34} {count}" for store, count in database.read_now(counts.read).items()]
        return "\n".join(lines)


def _purge_others(settings: Settings, results: Database, others: Mapping[str, Database], deletion: Deletion) -> None:
    """Purge Verification and Policy, if their databases are on this machine, and the audits of all three services.

    The counts of removed rows are stored under the id of the deletion record.
    """
    now = deletion.delete_time
    for name, audited in {"results": results, **others}.items():
        tables, keys = audit_of(settings, name)
        counts = DeletionCounts(_COUNTS[name], deletion.deletion_id)
        purge_audit(audited, tables, keys, settings.jurisdiction, now, counts)
    if (database := others.get("verification")) is not None:

        def find_removed(names: Collection[ReportName]) -> Collection[ReportName]:
            return results.read_now(find_reports, names, report_keys.c.reference_time < deletion.horizon)

        days = (
            settings.decisions_days,
            settings.refusals_days,
            settings.requests_days,
            settings.shown_reports_days,
            settings.cases_days,
            settings.decision_counts_days,
        )
        purge_verification(
            database,
            RetentionAges(*(count * DAY for count in days)),
            Purge(deletion.horizon, now, deletion.deletion_id, find_removed),
        )
    if (database := others.get("policy")) is not None:
        purge_policy(database, deletion.deletion_id, now - settings.requests_days * DAY)
    pace = PurgePace()
    for name, database in others.items():
        if not database.is_log_emptied_now(pace.drop_tries, pace.drop_pause):
            raise Unavailable(
                "OVERLOADED", english("the log of {name} is read without pause; purge again to empty it", name=name)
            )
