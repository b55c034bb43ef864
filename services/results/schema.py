"""The metadata that the tables of all packages belong to. Times are BIGINT microseconds since 1970-01-01T00:00:00Z."""

from __future__ import annotations

from services.approval.tables import pending_changes_table
from services.audit.tables import audit_tables
from services.storage.metadata import new_metadata

metadata = new_metadata()
audit = audit_tables(metadata, "results")
pending_changes = pending_changes_table(metadata, "results")
