"""Settings of one service: its address and its database."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hutong_texts import Text, english

from services.runtime.configuration.variables import (
    Variable,
    count,
    read_database_url,
    read_replica_urls,
    read_seconds,
    read_service_address,
    redact_url,
    redact_urls,
)

DATA_DIR = ".hutong"
MAX_WORKERS = 64
"""The most processes that serve one service. Each process has its own connections to the database."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service's address and database, and the number of processes that serve it.

    `replica_url` has the URLs of hot standbys of the database. `replica_lag_seconds` says how far a standby's answer
    may be behind the primary.
    """

    name: str
    address: str
    # The URL may contain a password, even in its query.
    database_url: str = field(repr=False)
    workers: int = 1
    replica_url: tuple[str, ...] = field(default=(), repr=False)
    replica_lag_seconds: float = 1.0

    def redacted(self) -> dict[str, str]:
        """Return the settings for the log at the start. Of the database only the kind, server and name are shown."""
        shown = {"address": self.address, "database_url": redact_url(self.database_url)}
        return shown | ({"replica_url": redact_urls(self.replica_url)} if self.replica_url else {})


def _service_variables(name: str, port: int, address: Text) -> dict[str, Variable]:
    """Return the variables of one service by the fields of ServiceSettings."""
    return {
        "address": Variable(address, read_service_address, f"127.0.0.1:{port}"),
        "database_url": Variable(
            english("SQLAlchemy URL"),
            read_database_url,
            lambda given: f"sqlite:///{Path(given.get('HUTONG_DATA_DIR') or DATA_DIR) / name}.db",
            english("SQLite in HUTONG_DATA_DIR"),
            redact_url,
        ),
        "workers": Variable(
            english("processes that serve it at its address, as with hutongd serve --workers"),
            count(1, MAX_WORKERS),
            "1",
        ),
    }


_REPLICA_VARIABLES = {
    "replica_url": Variable(
        english("URLs of hot standbys of Results' PostgreSQL that answer look-ups, separated by spaces"),
        read_replica_urls,
        default_words=english("none"),
        redact=redact_urls,
    ),
    "replica_lag_seconds": Variable(
        english("how far behind the primary a look-up on a hot standby may be"), read_seconds, "1"
    ),
}
SERVICE_VARIABLES = {
    "results": _service_variables(
        "results", 50051, english("where Results listens, and where the other services call it")
    )
    | _REPLICA_VARIABLES,
    "policy": _service_variables("policy", 50052, english("where Policy listens, and where Verification calls it")),
    "verification": _service_variables("verification", 50053, english("where Verification listens")),
}
"""The variables of each service by the fields of ServiceSettings."""
