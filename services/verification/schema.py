"""The metadata that all tables of the Verification service share.

Times are BIGINT microseconds since 1970-01-01T00:00:00Z. Tables name subjects only by keyed hashes.
"""

from __future__ import annotations

from services.audit.tables import audit_tables
from services.storage.columns import new_metadata

metadata = new_metadata()
audit = audit_tables(metadata, "verification")
