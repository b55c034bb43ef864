"""All tables of the Verification service, for Alembic. Each package declares its own tables."""

from __future__ import annotations

from services.verification.cases.tables import evidence_cases
from services.verification.decision_counts.tables import decision_counts
from services.verification.holder_tokens.tables import used_holder_tokens
from services.verification.refusals.tables import refusal_links, refusal_outbox, refusals, requests
from services.verification.retention import deletion_counts
from services.verification.schema import audit, metadata
from services.verification.showings.tables import evidence_flags, shown_reports
from services.verification.stored_decisions.tables import decisions, pepper_marks

__all__ = [
    "audit",
    "decision_counts",
    "decisions",
    "deletion_counts",
    "evidence_cases",
    "evidence_flags",
    "metadata",
    "pepper_marks",
    "refusal_links",
    "refusal_outbox",
    "refusals",
    "requests",
    "shown_reports",
    "used_holder_tokens",
]
