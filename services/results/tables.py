"""All tables of the Results service, for Alembic. Importing this module completes the metadata."""

from __future__ import annotations

import services.results.changelog.tables
import services.results.documents.tables
import services.results.exchange.tables
import services.results.holds.tables
import services.results.idempotency
import services.results.labs.tables
import services.results.missing_reports.tables
import services.results.records.tables
import services.results.retention.tables
import services.results.timeliness.tables
import services.results.upload.tables  # noqa: F401
from services.results.schema import audit, metadata

__all__ = ["audit", "metadata"]
