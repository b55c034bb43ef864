"""Sizes of steps and capacities of the Results service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResultsLimits:
    """Sizes of steps and capacities.

    Attributes:
        recall_step: reports that one transaction of a recall examines. Uploads go on between two transactions.
        unapproved_recall: how many results of a laboratory a named caller may recall without a second approver.
        listing_scan: reports of a laboratory that one page of a listing examines.
        missing_reports_per_lab: open missing reports of one laboratory. The limit bounds what invented report numbers
            can fill.
        missing_reports: all stored missing reports. At the limit they take about ten megabytes.
        missing_reports_at_home: stored missing reports. At the limit this node stores no further reports that home
            nodes below list already. The rest of `missing_reports` is left for reports that must be passed on.
        unregistered_missing_reports: missing reports of laboratories that are not registered here. The limit is half of
            `missing_reports`, so that invented codes fill no more than half of the table.
        lab_answers: answered missing reports. At the limit this node stores no further answers of other nodes'
            laboratories. A decision then gets such an answer from the nation.
        replication_batch_bytes: the content of one replicated batch. The limit is half of the 4 MiB of a gRPC message
            and leaves room for the frame's own bytes. A single change above the limit is sent alone. The largest
            change, a laboratory with a long history, is far below 4 MiB.
        dry_run_reports: reports that all dry runs of a process keep in memory, to find reports that occur twice. At the
            limit they take about 350 MB.
    """

    recall_step: int = 2_000
    unapproved_recall: int = 1_000
    listing_scan: int = 5_000
    missing_reports_per_lab: int = 1_000
    missing_reports: int = 100_000
    missing_reports_at_home: int = 75_000
    unregistered_missing_reports: int = 50_000
    lab_answers: int = 100_000
    replication_batch_bytes: int = 2 * 1024 * 1024
    dry_run_reports: int = 1_000_000
