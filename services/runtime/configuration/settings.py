"""Settings: environment variables `HUTONG_*` and a TOML file, read once into frozen values.

An unknown name is an error. Otherwise a misspelt setting would have no effect and give no warning. Secrets are given as
paths of files. Their contents never appear in a repr or a log.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hutong_texts import Text, english

from services.domain.region import NATION
from services.domain.subject import Pepper
from services.runtime.addresses import port_after
from services.runtime.configuration.added_regions import add_regions
from services.runtime.configuration.config_file import read_config_file, suggestion
from services.runtime.configuration.declared import declared, kinds_of, variable_name, variables_of
from services.runtime.configuration.pepper_source import PepperSource, check_sources, read_peppers
from services.runtime.configuration.service_settings import DATA_DIR, SERVICE_VARIABLES, ServiceSettings
from services.runtime.configuration.tls import TlsSettings
from services.runtime.configuration.upstream import check_upstream
from services.runtime.configuration.variables import (
    BadSetting,
    Declared,
    count,
    program_of,
    read_descriptor,
    read_file,
    read_level,
    read_optional_address,
    read_otlp_endpoint,
    read_path,
    read_region,
    read_seconds,
    read_share,
    read_switch,
    read_trust_domain,
    variable,
)
from services.runtime.limits import SOURCE_SECONDS

MAX_VERSION = 32_767
"""The greatest key version that the databases can store."""
MAX_UPLOAD_WORKERS = 256
"""The most worker processes for uploads: more than any machine has cores."""


def _days(meaning: Text, default: str) -> Any:
    """Declare the age at which `hutongd purge` removes rows of a store."""
    return variable(english("{meaning}, for hutongd purge", meaning=meaning), count(1, 36_500), default)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a node."""

    results: ServiceSettings
    policy: ServiceSettings
    verification: ServiceSettings
    tls: TlsSettings
    regions_file: Path | None = variable(
        english("file of regions that GB/T 2260 gained since this version, one code a line, perhaps with its name"),
        read_file,
        default_words=english("none"),
    )
    data_dir: Path = variable(
        english("directory of the SQLite databases and the generated pepper"), Path, DATA_DIR, shown=False
    )
    jurisdiction: str = variable(english("the node's region, GB/T 2260; 000000 for the nation"), read_region, NATION)
    insecure: bool = variable(
        english("1 serves loopback without certificates of callers: every process of this machine may do everything"),
        read_switch,
        default_words=english("off"),
    )
    trust_domain: str = variable(
        english("SPIFFE trust domain of the callers' certificates"), read_trust_domain, "hutong.org"
    )
    token_keys_file: Path | None = variable(
        english("JSON Web Key Set of the issuer of bearer tokens"),
        read_file,
        default_words=english("none: no tokens are accepted"),
    )
    token_issuer: str = variable(english("issuer (iss) of bearer tokens"))
    token_audience: str = variable(english("audience (aud) that bearer tokens must name"), default="hutong")
    deny_file: Path | None = variable(
        english(
            "callers that are refused: a serial number in hexadecimal or a SPIFFE ID a line; read again when it changes"
        ),
        read_file,
        default_words=english("none"),
    )
    access_file: Path | None = variable(
        english("YAML file that narrows the contract's grants and sets budgets of callers; read again when it changes"),
        read_file,
        default_words=english("none"),
    )
    upstream: str = variable(
        english("address of the Results of the node above, for a province the nation's"), read_optional_address
    )
    upstream_policy: str = variable(
        english("address of the national node's Policy"),
        read_optional_address,
        lambda given: port_after(given.get("HUTONG_UPSTREAM", "")),
        english("HUTONG_UPSTREAM's host, with the next port"),
    )
    upstream_verification: str = variable(
        english("address of the Verification of the node above, with which reported refusals are exchanged"),
        read_optional_address,
        lambda given: port_after(port_after(given.get("HUTONG_UPSTREAM", ""))),
        english("HUTONG_UPSTREAM's host, with the port two above"),
    )
    pepper_file: Path | None = variable(
        english("file of the nation's secret for subject keys, at least 32 bytes; generated at first start on SQLite"),
        read_path,
        shown=False,
    )
    pepper_descriptor: int | None = variable(
        english("number of an open file descriptor from which that secret is read once, in place of the file"),
        read_descriptor,
        shown=False,
    )
    pepper_command: str = variable(
        english("command that prints that secret, in place of the file; it is run once at start, without a shell"),
        shown=False,
        redact=program_of,
    )
    pepper_version: int = variable(
        english("number of that secret, one more with each change of it"), count(1, MAX_VERSION), "1"
    )
    pepper_other_file: Path | None = variable(
        english(
            "file of the second secret while the nation changes it: its rows are read, and none are written under it"
        ),
        read_path,
        default_words=english("none"),
        shown=False,
    )
    pepper_other_descriptor: int | None = variable(
        english("number of an open file descriptor from which the second secret is read once, in place of the file"),
        read_descriptor,
        default_words=english("none"),
        shown=False,
    )
    pepper_other_command: str = variable(
        english("command that prints the second secret, in place of the file"), shown=False, redact=program_of
    )
    pepper_other_version: int = variable(
        english("number of the second secret; needed with it"), count(0, MAX_VERSION), "0", english("none"), shown=False
    )
    metrics_address: str = variable(
        english("host:port where Prometheus metrics are served over HTTP"),
        read_optional_address,
        default_words=english("none"),
    )
    otlp_endpoint: str = variable(
        english("receiver of traces by OTLP over gRPC: http://host:4317 in plain text, https://host:4317 over TLS"),
        read_otlp_endpoint,
        default_words=english("none: no traces"),
    )
    trace_ratio: float = variable(
        english("share of calls traced that arrive without a trace, 0 to 1; others are traced if their trace is"),
        read_share,
        "0.01",
    )
    log_level: str = variable(english("debug, info, warning or error. Calls are logged at info"), read_level, "info")
    drain_seconds: float = variable(english("how long calls may continue after SIGTERM"), read_seconds, "20")
    start_seconds: float = variable(
        english("how long an upload may take to send its first frame before it is ended"), read_seconds, "30"
    )
    source_seconds: float = variable(
        english("how long a decision may wait for Results or Policy, and a look-up half as long for the nation"),
        read_seconds,
        f"{SOURCE_SECONDS:g}",
    )
    max_calls: int = variable(
        english("unary calls in flight in one process before RESOURCE_EXHAUSTED"), count(1), "4096"
    )
    upload_workers: int = variable(
        english("processes beside Results that validate uploads"),
        count(0, MAX_UPLOAD_WORKERS),
        lambda _given: str(min(4, os.cpu_count() or 1)),
        english("one per core, at most 4"),
    )
    lab_streams: int = variable(english("concurrent uploads of one laboratory per process"), count(1), "8")
    lab_persons_per_second: int = variable(
        english("persons that one laboratory may upload per second and process"), count(1), "50000"
    )
    lab_duplicates_per_day: int = variable(
        english("duplicates that one laboratory may upload per day and process before it is slowed"), count(0), "500000"
    )
    approval_hours: int = variable(
        english("hours after which a change that waits for a second approver lapses"), count(1, 8_760), "72"
    )
    watchers: int = variable(english("concurrent watchers of results per process"), count(1), "500")
    decisions_days: int = _days(english("days that a stored decision is kept at most"), "180")
    refusals_days: int = _days(english("days that a reported refusal is kept"), "730")
    shown_reports_days: int = _days(english("days that a report shown as evidence is remembered"), "90")
    cases_days: int = _days(english("days that a case of evidence is kept"), "730")
    decision_counts_days: int = _days(english("days that the counts of decisions are kept"), "400")
    requests_days: int = _days(english("days that a service remembers a request id"), "30")
    uploads_days: int = _days(
        english("days that an upload and its rejections are kept at most after its last batch"), "180"
    )
    missing_reports_days: int = _days(
        english("days that a missing report is kept; also removed while Results runs"), "30"
    )
    links_days: int = _days(english("days that a link of documents is kept after its end"), "730")
    changes_days: int = _days(
        english("days that an entry of the change log is kept at most; longer until the node above has it"), "730"
    )
    exchange_days: int = _days(english("days that a notification to a node waits for it at most"), "90")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], config: Path | None = None) -> Settings:
        """Read the settings from the environment. A TOML file gives those settings that the environment does not give.

        The file is `config`; without it, the file that HUTONG_CONFIG names. The codes of HUTONG_REGIONS_FILE become
        known regions in this process.

        Raises:
            BadSetting: a name is unknown, the file cannot be read, or a value cannot be used.
        """
        given = {name: text for name, (text, _) in given_texts(environment, config).items()}
        # The regions are added before the other settings are read, because HUTONG_JURISDICTION may be one of them.
        add_regions(variable_name("regions_file"), variables_of(cls)["regions_file"], given)
        services: dict[str, Any] = {
            service: ServiceSettings(
                service, **{name: one.value(variable_name(service, name), given) for name, one in variables.items()}
            )
            for service, variables in SERVICE_VARIABLES.items()
        }
        settings = cls(
            **services,
            tls=TlsSettings(
                **{
                    name: one.value(variable_name("tls", name), given)
                    for name, one in variables_of(TlsSettings).items()
                }
            ),
            **{name: one.value(variable_name(name), given) for name, one in variables_of(cls).items()},
        )
        settings._check()
        return settings

    def _check(self) -> None:
        """Check the settings that depend on one another."""
        self.tls.check()
        check_sources(self.pepper_source, self.other_pepper_source)
        if self.insecure and self.tls.client_ca_file is not None:
            raise BadSetting(english("HUTONG_INSECURE and HUTONG_TLS_CLIENT_CA_FILE exclude each other: leave one out"))
        if self.token_keys_file is not None and not (self.token_issuer and self.tls.client_ca_file):
            raise BadSetting(english("HUTONG_TOKEN_KEYS_FILE needs HUTONG_TOKEN_ISSUER and HUTONG_TLS_CLIENT_CA_FILE"))
        if self.deny_file is not None and self.tls.client_ca_file is None:
            raise BadSetting(english("HUTONG_DENY_FILE needs HUTONG_TLS_CLIENT_CA_FILE"))
        if self.results.replica_url and self.results.database_url.startswith("sqlite"):
            raise BadSetting(
                english("HUTONG_RESULTS_REPLICA_URL needs the primary in HUTONG_RESULTS_DATABASE_URL, not SQLite")
            )
        others = {name: getattr(self, name) for name in ("upstream_policy", "upstream_verification")}
        check_upstream(
            self.upstream, others, self.results.address, self.jurisdiction, self.pepper_source.kind == "embedded"
        )

    def service(self, name: str) -> ServiceSettings:
        """Return one service's settings by its name."""
        found: ServiceSettings = getattr(self, name)
        return found

    @property
    def pepper_source(self) -> PepperSource:
        """Return where the secret for subject keys comes from."""
        return PepperSource(self.pepper_file, self.pepper_descriptor, self.pepper_command, version=self.pepper_version)

    @property
    def other_pepper_source(self) -> PepperSource:
        """Return the source of the second secret while the pepper rotates; "embedded" if there is none."""
        return PepperSource(
            self.pepper_other_file,
            self.pepper_other_descriptor,
            self.pepper_other_command,
            "HUTONG_PEPPER_OTHER",
            self.pepper_other_version,
        )

    def pepper(self) -> Pepper:
        """Return the secret for subject keys. On SQLite without a source, the first start makes it.

        Raises:
            BadSetting: no source is given beside a database server, or the source cannot be used.
        """
        source = self.pepper_source
        if source.kind == "embedded" and not self.results.database_url.startswith("sqlite"):
            raise BadSetting(
                english("HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND is required beside a database server")
            )
        return read_peppers(source, self.other_pepper_source, self.data_dir)

    def redacted(self) -> dict[str, object]:
        """Return all settings for the log. Of a secret the log says only whether it is given."""
        return {
            "results": self.results.redacted(),
            "policy": self.policy.redacted(),
            "verification": self.verification.redacted(),
            "tls": "mutual" if self.tls.client_ca_file else "server" if self.tls.serves_tls else "none",
            "pepper": self.pepper_source.kind,
            "other_pepper": self.other_pepper_source.kind if self.pepper_other_version else "none",
            **{one.name: getattr(self, one.name) for one in fields(self) if one.metadata.get("shown")},
        }


DECLARED: Mapping[str, Declared] = {
    name: one
    for group in (
        *(declared(variables, kinds_of(ServiceSettings), service) for service, variables in SERVICE_VARIABLES.items()),
        declared(variables_of(Settings), kinds_of(Settings)),
        declared(variables_of(TlsSettings), kinds_of(TlsSettings), "tls"),
    )
    for name, one in group.items()
}
"""Every setting by its environment variable."""
CONFIG = "HUTONG_CONFIG"
VARIABLES: Mapping[str, Text] = {
    CONFIG: english("TOML file with settings, as hutongd --config; the environment wins over it"),
    **{name: one.variable.describe() for name, one in DECLARED.items()},
}
"""The meaning of every environment variable, for operators."""


def given_texts(environment: Mapping[str, str], config: Path | None = None) -> dict[str, tuple[str, str]]:
    """Return each given setting by its environment variable, with its text and the origin of the text.

    Raises:
        BadSetting: a name is unknown, or the file cannot be read.
    """
    given = {name: text for name, text in environment.items() if name.startswith("HUTONG_")}
    for name in sorted(set(given) - set(VARIABLES)):
        raise BadSetting(
            english("unknown setting {name}{suggestion}", name=name, suggestion=suggestion(name, VARIABLES))
        )
    named = given.pop(CONFIG, "")
    file = config or (Path(named) if named else None)
    texts = {} if file is None else read_config_file(file, DECLARED)
    found = {name: (text, str(file)) for name, text in texts.items() if text}
    return found | {name: (text, "environment") for name, text in given.items() if text}
