"""Sizes of steps and capacities of the Results service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResultsLimits:
    """Sizes of steps and capacities.

    Attributes:
        recall_step: reports that one transaction of a recall examines. Uploads go on between two transactions.
        unapproved_recall: results that an identified caller recalls without a second approver.
        listing_scan: reports of a laboratory that one page of a listing examines.
        missing_reports_per_lab: open missing reports of one laboratory. Invented report numbers can fill no more than
            this.
        missing_reports: all stored missing reports, about ten megabytes.
        unregistered_missing_reports: missing reports of laboratories that are not registered here. Invented codes can
            fill only half of the table.
        lab_answers: the number of missing reports with an answer up to which this node stores answers of other nodes'
            laboratories. Beyond this number a decision learns such an answer from the nation.
        replication_batch_bytes: content of a replicated batch. This limit is half of the 4 MiB of a gRPC message, so
            that the frame's own bytes fit too. A single change above the limit is sent alone. The largest change, a
            laboratory with a long history, is far below 4 MiB.
        dry_run_reports: reports that all dry runs of a process keep in memory, to find reports that come twice. These
            reports take about 350 MB.
    """

    recall_step: int = 2_000
    unapproved_recall: int = 1_000
    listing_scan: int = 5_000
    missing_reports_per_lab: int = 1_000
    missing_reports: int = 100_000
    unregistered_missing_reports: int = 50_000
    lab_answers: int = 100_000
    replication_batch_bytes: int = 2 * 1024 * 1024
    dry_run_reports: int = 1_000_000
