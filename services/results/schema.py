"""The metadata of the tables of all packages. Times are BIGINT microseconds since 1970-01-01T00:00:00Z."""

from __future__ import annotations

from services.approval.tables import approval_tables
from services.audit.tables import audit_tables
from services.storage.columns import new_metadata

metadata = new_metadata()
audit = audit_tables(metadata, "results")
pending_changes, emergency_grants = approval_tables(metadata, "results")
