"""Settings: environment variables `HUTONG_*`, read once into frozen values.

Unknown names are refused, so that a misspelt setting cannot be silently without effect. Secrets come as file paths and
their contents never show in a repr or a log.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

from services.domain.region import NATION
from services.domain.subject import Pepper
from services.runtime.variables import (
    BadSetting,
    Variable,
    count,
    read_address,
    read_database_url,
    read_file,
    read_level,
    read_optional_address,
    read_path,
    read_region,
    read_seconds,
    split_address,
    variable,
)

MAX_UPLOAD_WORKERS = 256
"""Processes; more than any machine has cores for."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Transport security. All empty means plain text, which is allowed on loopback alone."""

    certificate_file: Path | None = variable(
        "PEM certificate chain of this server and, as a client, of this node", read_file, optional=True
    )
    key_file: Path | None = variable("PEM private key of the certificate", read_file, optional=True)
    client_ca_file: Path | None = variable(
        "PEM authorities whose client certificates are asked for and accepted (mutual TLS)", read_file, optional=True
    )
    server_ca_file: Path | None = variable(
        "PEM authorities by which this node trusts the servers it calls",
        read_file,
        default_words="the system's",
        optional=True,
    )

    @property
    def serves_tls(self) -> bool:
        """Whether servers speak TLS."""
        return self.certificate_file is not None

    @property
    def calls_tls(self) -> bool:
        """Whether this node calls the others over TLS."""
        return self.serves_tls or self.server_ca_file is not None


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service's address and database."""

    name: str
    address: str
    # May hold a password, which may stand in its query too.
    database_url: str = field(repr=False)

    def redacted(self) -> dict[str, str]:
        """For the log at start: of the database only its kind, server and name."""
        url = make_url(self.database_url)
        shown = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
        return {"address": self.address, "database_url": shown.render_as_string()}


def _service_variables(name: str, port: int, found_by: str) -> dict[str, Variable]:
    """The variables of one service by the fields of ServiceSettings."""
    return {
        "address": Variable(f"where {name.capitalize()} listens{found_by}", read_address, f"127.0.0.1:{port}"),
        "database_url": Variable(
            "SQLAlchemy URL",
            read_database_url,
            lambda given: f"sqlite:///{Path(given.get('HUTONG_DATA_DIR') or DATA_DIR) / name}.db",
            "SQLite in HUTONG_DATA_DIR",
        ),
    }


DATA_DIR = ".hutong"
_SERVICES = {
    "results": _service_variables("results", 50051, ", and where the others find it"),
    "policy": _service_variables("policy", 50052, ", and where Verification finds it"),
    "verification": _service_variables("verification", 50053, ""),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a node is told."""

    results: ServiceSettings
    policy: ServiceSettings
    verification: ServiceSettings
    tls: TlsSettings
    data_dir: Path = variable("where the embedded databases and the pepper live", Path, DATA_DIR, shown=False)
    jurisdiction: str = variable("the node's region, GB/T 2260: a province or 000000", read_region, NATION)
    upstream: str = variable(
        "address of the national node's Results, by which a province joins the nation", read_optional_address
    )
    upstream_policy: str = variable(
        "address of the national node's Policy",
        read_optional_address,
        lambda given: _port_after(given.get("HUTONG_UPSTREAM", "")),
        "HUTONG_UPSTREAM's host at the port after",
    )
    pepper_file: Path | None = variable(
        "the nation's secret for subject keys, 32 bytes or more; made at first start on SQLite", read_path, shown=False
    )
    metrics_address: str = variable(
        "host:port where Prometheus metrics are served over HTTP", read_optional_address, default_words="none"
    )
    log_level: str = variable("debug, info, warning or error. Calls are logged at info", read_level, "info")
    drain_seconds: float = variable("how long calls may go on after SIGTERM", read_seconds, "20")
    start_seconds: float = variable(
        "how long an upload may wait with its first frame before it is ended", read_seconds, "30"
    )
    max_calls: int = variable("unary calls in flight in one process before RESOURCE_EXHAUSTED", count(1), "4096")
    upload_workers: int = variable(
        "processes that validate uploads beside Results",
        count(0, MAX_UPLOAD_WORKERS),
        lambda _given: str(min(4, os.cpu_count() or 1)),
        "one a core, at most 4",
    )
    lab_streams: int = variable("uploads of one laboratory at once, a process", count(1), "8")
    lab_persons_per_second: int = variable(
        "persons that one laboratory may upload a second, a process", count(1), "50000"
    )
    lab_duplicates_per_day: int = variable("duplicates of one laboratory a day before it is slowed", count(0), "500000")
    watchers: int = variable("watchers of results at once, a process", count(1), "500")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            BadSetting: an unknown HUTONG_ name, or a value that cannot be used.
        """
        given = {name: value for name, value in environment.items() if name.startswith("HUTONG_")}
        unknown = sorted(set(given) - set(VARIABLES))
        if unknown:
            raise BadSetting(f"unknown setting {', '.join(unknown)}; known are {', '.join(VARIABLES)}")
        services: dict[str, Any] = {
            service: ServiceSettings(
                service, **{name: one.value(_variable_name(service, name), given) for name, one in variables.items()}
            )
            for service, variables in _SERVICES.items()
        }
        settings = cls(
            **services,
            tls=TlsSettings(
                **{
                    name: one.value(_variable_name("tls", name), given)
                    for name, one in _variables_of(TlsSettings).items()
                }
            ),
            **{name: one.value(_variable_name(name), given) for name, one in _variables_of(cls).items()},
        )
        settings._check()
        return settings

    def _check(self) -> None:
        """What settings must be together."""
        if (self.tls.certificate_file is None) != (self.tls.key_file is None):
            raise BadSetting("HUTONG_TLS_CERTIFICATE_FILE and HUTONG_TLS_KEY_FILE go together")
        if self.tls.client_ca_file is not None and not self.tls.serves_tls:
            raise BadSetting("HUTONG_TLS_CLIENT_CA_FILE needs HUTONG_TLS_CERTIFICATE_FILE")
        if self.upstream:
            if self.jurisdiction == NATION:
                raise BadSetting("HUTONG_UPSTREAM is a province's: give HUTONG_JURISDICTION, or no upstream")
            if self.pepper_file is None:
                raise BadSetting("HUTONG_UPSTREAM needs HUTONG_PEPPER_FILE: all nodes of the nation share one")
        elif self.upstream_policy:
            raise BadSetting("HUTONG_UPSTREAM_POLICY needs HUTONG_UPSTREAM")

    def service(self, name: str) -> ServiceSettings:
        """One service's settings by its name."""
        found: ServiceSettings = getattr(self, name)
        return found

    def pepper(self) -> Pepper:
        """The secret for subject keys. On the embedded default it is made at first start, readable by its owner alone.

        Raises:
            BadSetting: it is missing where it must be given, unreadable, or shorter than 32 bytes.
        """
        path = self.pepper_file
        if path is None:
            if not self.results.database_url.startswith("sqlite"):
                raise BadSetting("HUTONG_PEPPER_FILE is required beside a database server")
            path = self.data_dir / "pepper"
            try:
                if not path.exists():
                    _make_pepper(path)
            except OSError as error:
                raise BadSetting(f"HUTONG_DATA_DIR cannot be used: {error.strerror}") from None
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise BadSetting(f"HUTONG_PEPPER_FILE cannot be read: {error.strerror}") from None
        if len(secret) < 32:
            raise BadSetting("HUTONG_PEPPER_FILE holds less than 32 bytes")
        return Pepper(secret)

    def redacted(self) -> dict[str, object]:
        """For the log at start: every setting, secrets as whether they are given."""
        return {
            "results": self.results.redacted(),
            "policy": self.policy.redacted(),
            "verification": self.verification.redacted(),
            "tls": "mutual" if self.tls.client_ca_file else "server" if self.tls.serves_tls else "none",
            "pepper": "given" if self.pepper_file else "embedded",
            **{one.name: getattr(self, one.name) for one in fields(self) if one.metadata.get("shown")},
        }


def _variables_of(settings: type[Settings] | type[TlsSettings]) -> dict[str, Variable]:
    """The variables of a class by its fields."""
    return {one.name: one.metadata["variable"] for one in fields(settings) if "variable" in one.metadata}


def _variable_name(*path: str) -> str:
    return "_".join(("HUTONG", *path)).upper()


VARIABLES: Mapping[str, str] = {
    **{
        _variable_name(service, name): one.describe()
        for service, variables in _SERVICES.items()
        for name, one in variables.items()
    },
    **{_variable_name(name): one.describe() for name, one in _variables_of(Settings).items()},
    **{_variable_name("tls", name): one.describe() for name, one in _variables_of(TlsSettings).items()},
}
"""Every setting with its meaning, for operators."""


def _make_pepper(path: Path) -> None:
    """Make the secret, whole or not at all: services started side by side must all read the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_bytes(32))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _port_after(address: str) -> str:
    """The address at the port after another's, as the three services' default ports follow one another."""
    host, colon, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}" if colon and port.isascii() and port.isdigit() else ""


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
