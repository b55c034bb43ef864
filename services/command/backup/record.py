"""The row by which the audit names a restore. Rows that were recorded after the copy are lost by a restore.

The row puts this gap on record in the chain. It stands between the last row of the copy and the first row after the
restore, and is sealed together with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from hutong_texts import tr

from services.audit.check import BACKUPS, RESTORED
from services.audit.keys import AuditKeys
from services.audit.tables import AuditTables
from services.audit.trail import Trail
from services.command.audit import audit_of
from services.command.databases import check_pepper, is_within_reach, opened
from services.command.operator import operator_name
from services.domain.instant import Instant, format_instant
from services.runtime.audit import AuditEvent, AuditKind
from services.runtime.caller import LOCAL
from services.runtime.clock import FixedClock
from services.runtime.configuration.settings import Settings
from services.storage.engine import Database


def record_restore(
    database: Database, audit: tuple[AuditTables, AuditKeys], region: str, now: Instant, copy: str
) -> None:
    """Record in a restored database that it was restored from a copy.

    `region` is the region of the node. `copy` is the name of a backup, or the instant whose state was restored.
    """
    trail = Trail(database, *audit, region, FixedClock(now))
    stated = (region, BACKUPS + copy, None, 0, "", 0)
    event = AuditEvent(int(AuditKind.CHANGE), now, "", LOCAL, operator_name(), "", "", RESTORED, 0, *stated)
    database.write_now(trail.insert, [event])


def record_restored(settings: Settings, names: Sequence[str], copy_of: Instant, now: Instant) -> list[str]:
    """Record in the audits that the databases were restored to their state at an instant.

    Return lines for the operator.
    """
    lines = []
    for name in names:
        if len(names) > 1 and not is_within_reach(settings, name):
            continue
        with opened(settings, name) as database:
            database.read_now(check_pepper, settings, name)
            audit = audit_of(settings, name)
            record_restore(database, audit, settings.jurisdiction, now, format_instant(copy_of))
        lines.append(tr("{name}: the audit names the restore", name=name))
    return lines
