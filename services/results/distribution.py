"""The distribution plan: where each table of Results is kept if PostgreSQL has the Citus extension (docs/scale.md).

A distributed table is cut into shards by one column, and the tables of one group are cut alike. A reference table is
whole on every machine. A local table is on the coordinator alone.

The law of the plan: a statement that touches a distributed table states a value for the column that cuts the table. It
may instead join this column to a column with a stated value. No statement mixes tables of different groups, or
distributed tables with local tables. Every unique key of a distributed table contains the column that cuts the table.
SWEEPS names the functions that work over whole tables. `tests/support/results/distribution_law.py` checks every
statement that the tests run.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from sqlalchemy import Connection

from services.storage.connections import is_distributed


class Group(Enum):
    """The value by which the tables of a group are cut. Tables of one group may be joined by this value."""

    SUBJECT = "subject_key"
    REPORT = "report_number"
    LAB = "lab"


class Shards(NamedTuple):
    """A table that is distributed: its group, and the column that has the group's value."""

    group: Group
    column: str


class Whole(Enum):
    """A table that is not cut: on every machine, or on the coordinator alone."""

    REFERENCE = "reference"
    LOCAL = "local"


_BY_SUBJECT = Shards(Group.SUBJECT, "subject_key")
_BY_REPORT = Shards(Group.REPORT, "report_number")
_BY_LAB = Shards(Group.LAB, "lab")

PLAN: dict[str, Shards | Whole] = {
    # Cut by person, as look-ups ask. All rows of a person are on one machine.
    "results": _BY_SUBJECT,
    "subscriptions": _BY_SUBJECT,
    # Cut by report number, because uploads claim report numbers. The reports of a large laboratory are spread over all
    # machines.
    "report_keys": _BY_REPORT,
    "revision_reasons": _BY_REPORT,
    "missing_reports": _BY_REPORT,
    # The state of a laboratory's uploads.
    "uploads": _BY_LAB,
    "upload_rejections": _BY_LAB,
    "known_batches": _BY_LAB,
    "delays": _BY_LAB,
    "national_delays": _BY_LAB,
    "national_receive_times": _BY_LAB,
    "last_uploads": _BY_LAB,
    # The register. Every machine needs it, and it is small.
    "labs": Whole.REFERENCE,
    "lab_standings": Whole.REFERENCE,
    "lab_copies": Whole.REFERENCE,
    "lab_signing_keys": Whole.REFERENCE,
    "lab_homes": Whole.REFERENCE,
    # A link is found by its id or by either of its two subjects. No single column serves all three searches.
    "document_links": Whole.REFERENCE,
    "key_pairs": Whole.REFERENCE,
    # Totals by city. The machines of several laboratories may add to one total.
    "city_delays": Whole.LOCAL,
    "city_national_delays": Whole.LOCAL,
    # The order of commits, and what was sent and received. One machine orders all commits.
    "change_writers": Whole.LOCAL,
    "changes": Whole.LOCAL,
    "removed_lives": Whole.LOCAL,
    "link_end_requests": Whole.LOCAL,
    "log_identity": Whole.LOCAL,
    "acknowledged_positions": Whole.LOCAL,
    "nodes": Whole.LOCAL,
    "relayed_nodes": Whole.LOCAL,
    "replicated_positions": Whole.LOCAL,
    "replicated_lives": Whole.LOCAL,
    "replication_streams": Whole.LOCAL,
    "marking_positions": Whole.LOCAL,
    "notifications": Whole.LOCAL,
    "notification_positions": Whole.LOCAL,
    "subscription_positions": Whole.LOCAL,
    "withheld_kinds": Whole.LOCAL,
    "audit_heads_to_send": Whole.LOCAL,
    "held_audit_heads": Whole.LOCAL,
    # The audit, requests and approvals of the node, and its records of purges and keys.
    "results_audit": Whole.LOCAL,
    "results_audit_reads": Whole.LOCAL,
    "results_audit_writers": Whole.LOCAL,
    "results_audit_seals": Whole.LOCAL,
    "results_audit_keys": Whole.LOCAL,
    "results_request_memory": Whole.LOCAL,
    "results_pending_changes": Whole.LOCAL,
    "results_emergency_grants": Whole.LOCAL,
    "results_deletion_counts": Whole.LOCAL,
    "deletions": Whole.LOCAL,
    # Legal holds and the results that they keep. A hold that states only report times can cover any row of the held
    # results.
    "legal_holds": Whole.LOCAL,
    "held_results": Whole.LOCAL,
    "pepper_marks": Whole.LOCAL,
}
"""Where each table is kept."""

_CORRECTIONS, _EXCHANGE = "services.results.corrections", "services.results.exchange"
_NOTIFICATIONS = f"{_EXCHANGE}.downstream.notifications"
_MISSING, _RETENTION = "services.results.missing_reports.store", "services.results.retention"

SWEEPS: dict[str, str] = {
    # A page of a laboratory's reports in order. Every machine contributes.
    "services.results.lookup.listing_queries.list_by_lab": "a listing of a laboratory",
    f"{_CORRECTIONS}.recall.recall_step": "a recall, which goes through a laboratory's reports",
    f"{_CORRECTIONS}.store.count_unapproved": "a recall, which counts the laboratory's changes of a day",
    # Missing reports are few, because their number is limited.
    f"{_MISSING}.__init__": "counting against the limits of missing reports",
    f"{_MISSING}.list_at_home": "a laboratory that is registered",
    f"{_MISSING}.find_closed": "reports that arrived from another node",
    f"{_MISSING}.list_passed_on": "reports that arrived from another node",
    f"{_MISSING}.list_missing_reports": "a listing of missing reports",
    f"{_MISSING}.list_open": "a node that sends again, or a node above that lists missing reports now",
    "services.results.missing_reports.answers.store_answers": "counting against the limit of answers",
    "services.results.missing_reports.answers.list_answered": "a node that begins to listen or sends again",
    "services.results.missing_reports.answers.list_denied": "Verification asks for new denials, every five seconds",
    f"{_MISSING}.remove_old": "the age of missing reports",
    f"{_EXCHANGE}.downstream.missing_report_routing.receive_labs": "a laboratory that is registered",
    # What a node subscribes to. For `has_subscriptions` any row of any machine is enough.
    f"{_NOTIFICATIONS}.notifications.has_subscriptions": "whether there is any subscription, once for a commit",
    f"{_NOTIFICATIONS}.adverse_subjects.find_marked": "a node that begins to listen",
    f"{_EXCHANGE}.subscribers.list_subscribed": "a node that compares its subscriptions",
    f"{_NOTIFICATIONS}.stored_positives.read_step": "the first node that joins below this one",
    f"{_EXCHANGE}.downstream.relayed._hand_over": "a node that was founded between another one and this one",
    f"{_EXCHANGE}.subscribers.end_subscriptions": "a purge",
    "services.results.timeliness.groups.read_counts": "a summary of a region",
    "services.results.timeliness.totals.include_step": "including counts in totals",
    "services.results.timeliness.silence.find_silent_in": "a summary of a region",
    "services.results.holds.store.move_held": "a purge, for each legal hold",
    f"{_RETENTION}.purge.count_and_hash": "a purge",
    f"{_RETENTION}.purge._delete_keys": "a purge",
    f"{_RETENTION}.purge._delete_results": "a purge, on SQLite alone",
    f"{_RETENTION}.purge._delete_rows": "a purge",
    f"{_MISSING}.remove_with_keys": "a purge",
    "services.command.key._count": "counting the rows of each version of the pepper",
}
"""The functions that work over whole tables on purpose, by module and name. The value says on what occasion."""


def distribute(connection: Connection) -> None:
    """Cut the tables of the plan that are not cut yet, if the server has Citus. Migrations call it at their end."""
    if not is_distributed(connection):
        return
    # With this setting Citus cuts all partitions of a table on one connection, so the transaction sees every partition.
    connection.exec_driver_sql("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
    known = connection.exec_driver_sql("SELECT logicalrelid::text FROM pg_dist_partition").scalars()
    done = set(known)
    first: dict[Group, str] = {}
    for name, kept in PLAN.items():
        if isinstance(kept, Shards):
            beside = first.setdefault(kept.group, name)
            if name not in done:
                # Tables of different groups must not share shards, even if their columns have the same type.
                connection.exec_driver_sql(
                    "SELECT create_distributed_table(%s, %s, colocate_with => %s)",
                    (name, kept.column, "none" if beside == name else beside),
                )
        elif kept is Whole.REFERENCE and name not in done:
            connection.exec_driver_sql("SELECT create_reference_table(%s)", (name,))
