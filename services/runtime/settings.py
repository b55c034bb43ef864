"""Settings: environment variables `HUTONG_*`, read once into frozen values.

Unknown names are refused, so that a misspelt setting cannot be silently without effect. Secrets come as file paths and
their contents never show in a repr or a log.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from services.domain.region import NATION, is_region
from services.domain.subject import Pepper

DEFAULT_ADDRESSES = {"results": "127.0.0.1:50051", "policy": "127.0.0.1:50052", "verification": "127.0.0.1:50053"}

VARIABLES: Mapping[str, str] = {
    "HUTONG_RESULTS_ADDRESS": "where Results listens, and where the others find it; default 127.0.0.1:50051",
    "HUTONG_POLICY_ADDRESS": "where Policy listens, and where Verification finds it; default 127.0.0.1:50052",
    "HUTONG_VERIFICATION_ADDRESS": "where Verification listens; default 127.0.0.1:50053",
    "HUTONG_RESULTS_DATABASE_URL": "SQLAlchemy URL; default SQLite in HUTONG_DATA_DIR",
    "HUTONG_POLICY_DATABASE_URL": "SQLAlchemy URL; default SQLite in HUTONG_DATA_DIR",
    "HUTONG_VERIFICATION_DATABASE_URL": "SQLAlchemy URL; default SQLite in HUTONG_DATA_DIR",
    "HUTONG_DATA_DIR": "where the embedded databases and the pepper live; default .hutong",
    "HUTONG_JURISDICTION": "the node's region, GB/T 2260: a province or 000000; default 000000",
    "HUTONG_UPSTREAM": "address of the national node's Results, by which a province joins the nation; none by default",
    "HUTONG_UPSTREAM_POLICY": "address of the national node's Policy; default HUTONG_UPSTREAM's host at the port after",
    "HUTONG_PEPPER_FILE": "the nation's secret for subject keys, 32 bytes or more; made at first start on SQLite",
    "HUTONG_TLS_CERTIFICATE_FILE": "PEM certificate chain of this server and, as a client, of this node",
    "HUTONG_TLS_KEY_FILE": "PEM private key of the certificate",
    "HUTONG_TLS_CLIENT_CA_FILE": "PEM authorities whose client certificates are asked for and accepted (mutual TLS)",
    "HUTONG_TLS_SERVER_CA_FILE": "PEM authorities by which this node trusts the servers it calls; default the system's",
    "HUTONG_METRICS_ADDRESS": "host:port where Prometheus metrics are served over HTTP; none by default",
    "HUTONG_LOG_LEVEL": "debug, info, warning or error; default info. Calls are logged at info",
    "HUTONG_DRAIN_SECONDS": "how long calls may go on after SIGTERM; default 20",
    "HUTONG_UPLOAD_WORKERS": "processes that judge uploads beside Results; default one a core, at most 4",
    "HUTONG_START_SECONDS": "how long an upload may wait with its first frame before it is ended; default 30",
    "HUTONG_LAB_STREAMS": "uploads of one laboratory at once, a process; default 8",
    "HUTONG_LAB_PERSONS_PER_SECOND": "persons that one laboratory may upload a second, a process; default 50000",
    "HUTONG_LAB_DUPLICATES_PER_DAY": "duplicates of one laboratory a day before it is slowed; default 500000",
    "HUTONG_WATCHERS": "watchers of results at once, a process; default 500",
    "HUTONG_MAX_CALLS": "unary calls in flight in one process before RESOURCE_EXHAUSTED; default 4096",
}


MAX_UPLOAD_WORKERS = 256
"""Processes; more than any machine has cores for."""


class BadSetting(ValueError):
    """A setting that cannot be used; says which and why."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Transport security. All empty means plain text, which is allowed on loopback alone."""

    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    server_ca_file: Path | None = None

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


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a node is told."""

    results: ServiceSettings
    policy: ServiceSettings
    verification: ServiceSettings
    data_dir: Path
    jurisdiction: str = NATION
    upstream: str = ""
    upstream_policy: str = ""
    pepper_file: Path | None = None
    tls: TlsSettings = TlsSettings()
    metrics_address: str = ""
    log_level: str = "info"
    drain_seconds: float = 20.0
    start_seconds: float = 30.0
    max_calls: int = 4096
    upload_workers: int = 0
    lab_streams: int = 8
    lab_persons_per_second: int = 50_000
    lab_duplicates_per_day: int = 500_000
    watchers: int = 500

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
        data_dir = Path(given.get("HUTONG_DATA_DIR") or ".hutong")
        settings = cls(
            results=_service("results", given, data_dir),
            policy=_service("policy", given, data_dir),
            verification=_service("verification", given, data_dir),
            data_dir=data_dir,
            jurisdiction=given.get("HUTONG_JURISDICTION") or NATION,
            upstream=given.get("HUTONG_UPSTREAM", ""),
            upstream_policy=given.get("HUTONG_UPSTREAM_POLICY") or _port_after(given.get("HUTONG_UPSTREAM", "")),
            pepper_file=_path(given, "HUTONG_PEPPER_FILE"),
            tls=TlsSettings(
                certificate_file=_path(given, "HUTONG_TLS_CERTIFICATE_FILE"),
                key_file=_path(given, "HUTONG_TLS_KEY_FILE"),
                client_ca_file=_path(given, "HUTONG_TLS_CLIENT_CA_FILE"),
                server_ca_file=_path(given, "HUTONG_TLS_SERVER_CA_FILE"),
            ),
            metrics_address=given.get("HUTONG_METRICS_ADDRESS", ""),
            log_level=(given.get("HUTONG_LOG_LEVEL") or "info").lower(),
            drain_seconds=_seconds(given, "HUTONG_DRAIN_SECONDS", 20.0),
            start_seconds=_seconds(given, "HUTONG_START_SECONDS", 30.0),
            max_calls=_count(given, "HUTONG_MAX_CALLS", 4096, least=1),
            upload_workers=_count(given, "HUTONG_UPLOAD_WORKERS", _default_workers(), least=0, most=MAX_UPLOAD_WORKERS),
            lab_streams=_count(given, "HUTONG_LAB_STREAMS", 8, least=1),
            lab_persons_per_second=_count(given, "HUTONG_LAB_PERSONS_PER_SECOND", 50_000, least=1),
            lab_duplicates_per_day=_count(given, "HUTONG_LAB_DUPLICATES_PER_DAY", 500_000, least=0),
            watchers=_count(given, "HUTONG_WATCHERS", 500, least=1),
        )
        settings._check()
        return settings

    def _check(self) -> None:
        if not is_region(self.jurisdiction):
            raise BadSetting("HUTONG_JURISDICTION is not a GB/T 2260 region")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise BadSetting("HUTONG_LOG_LEVEL must be debug, info, warning or error")
        if (self.tls.certificate_file is None) != (self.tls.key_file is None):
            raise BadSetting("HUTONG_TLS_CERTIFICATE_FILE and HUTONG_TLS_KEY_FILE go together")
        if self.tls.client_ca_file is not None and not self.tls.serves_tls:
            raise BadSetting("HUTONG_TLS_CLIENT_CA_FILE needs HUTONG_TLS_CERTIFICATE_FILE")
        for given in fields(self.tls):
            path = getattr(self.tls, given.name)
            if path is not None and not path.is_file():
                raise BadSetting(f"HUTONG_TLS_{given.name.upper()}: there is no such file")
        if self.upstream:
            split_address(self.upstream, "HUTONG_UPSTREAM")
            if self.jurisdiction == NATION:
                raise BadSetting("HUTONG_UPSTREAM is a province's: give HUTONG_JURISDICTION, or no upstream")
            if self.pepper_file is None:
                raise BadSetting("HUTONG_UPSTREAM needs HUTONG_PEPPER_FILE: all nodes of the nation share one")
        elif self.upstream_policy:
            raise BadSetting("HUTONG_UPSTREAM_POLICY needs HUTONG_UPSTREAM")
        if self.upstream_policy:
            split_address(self.upstream_policy, "HUTONG_UPSTREAM_POLICY")
        if self.metrics_address:
            split_address(self.metrics_address, "HUTONG_METRICS_ADDRESS")

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
            "jurisdiction": self.jurisdiction,
            "upstream": self.upstream,
            "upstream_policy": self.upstream_policy,
            "results": self.results.redacted(),
            "policy": self.policy.redacted(),
            "verification": self.verification.redacted(),
            "tls": "mutual" if self.tls.client_ca_file else "server" if self.tls.serves_tls else "none",
            "pepper": "given" if self.pepper_file else "embedded",
            "metrics_address": self.metrics_address,
            "drain_seconds": self.drain_seconds,
            "start_seconds": self.start_seconds,
            "max_calls": self.max_calls,
            "upload_workers": self.upload_workers,
            "lab_streams": self.lab_streams,
            "lab_persons_per_second": self.lab_persons_per_second,
            "lab_duplicates_per_day": self.lab_duplicates_per_day,
            "watchers": self.watchers,
        }


def _make_pepper(path: Path) -> None:
    """Make the secret, whole or not at all: services started side by side must all read the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_bytes(32))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _service(name: str, given: Mapping[str, str], data_dir: Path) -> ServiceSettings:
    address = given.get(f"HUTONG_{name.upper()}_ADDRESS") or DEFAULT_ADDRESSES[name]
    split_address(address, f"HUTONG_{name.upper()}_ADDRESS")
    url = given.get(f"HUTONG_{name.upper()}_DATABASE_URL") or f"sqlite:///{data_dir / name}.db"
    try:
        known = make_url(url).get_backend_name() in {"sqlite", "postgresql"}
    except ArgumentError:
        known = False
    if not known:
        raise BadSetting(f"HUTONG_{name.upper()}_DATABASE_URL must be sqlite:///path or postgresql://...")
    return ServiceSettings(name, address, url)


def _path(given: Mapping[str, str], name: str) -> Path | None:
    value = given.get(name)
    return Path(value) if value else None


def _default_workers() -> int:
    return min(4, os.cpu_count() or 1)


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        seconds = float(given[name]) if given.get(name) else default
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadSetting(f"{name} must be a number of seconds above 0")
    return seconds


def _count(given: Mapping[str, str], name: str, default: int, *, least: int, most: int | None = None) -> int:
    try:
        count = int(given[name]) if given.get(name) else default
    except ValueError:
        count = least - 1
    if count < least or (most is not None and count > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise BadSetting(f"{name} must be a whole number, {bounds}")
    return count


def split_address(address: str, name: str = "address") -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port"; BadSetting when it is neither."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise BadSetting(f"{name} must be host:port")
    return host.strip("[]"), int(port)


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
