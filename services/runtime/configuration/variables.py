"""Declarations of settings. Each has a meaning, a function that turns its text into a value, and a default."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from hutong_texts import Text, english, text_of
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from services.domain.region import NATION, is_region, parent
from services.runtime.addresses import socket_path, split_address
from services.runtime.configuration.unreadable import find_missing, unreadable

POOLER_OPTION = "pooler"
"""The option in a database's URL that names the kind of pooler between this process and PostgreSQL."""
TRANSACTION_POOLER = "transaction"
"""A pooler that may give each transaction another session of the server, such as pgbouncer in transaction mode."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")


class BadSetting(ValueError):
    """A setting that cannot be used. The text names the setting and gives the cause."""

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting, declared once.

    Attributes:
        meaning: what the setting does, for operators.
        read: turns the text into a value. Its ValueError says what the text must be.
        default: the text if none is given; may be a function that derives the text from the other settings.
        default_words: the description of a derived default, for operators.
        redact: returns the value for operators, without any secret that it contains.
    """

    meaning: Text
    read: Callable[[str], object]
    default: str | Callable[[Mapping[str, str]], str] = ""
    default_words: Text | None = None
    redact: Callable[[Any], Any] = lambda value: value

    def describe(self) -> Text:
        """Return the meaning with the default."""
        words = self.default_words or (self.default if isinstance(self.default, str) else "")
        return english("{meaning}; default {default}", meaning=self.meaning, default=words) if words else self.meaning

    def value(self, name: str, given: Mapping[str, str]) -> Any:
        """Return the value of the variable. `name` is its name. An empty text counts as not given."""
        text = given.get(name) or (self.default if isinstance(self.default, str) else self.default(given))
        try:
            return self.read(text)
        except ValueError as error:
            raise BadSetting(english("{name} {fault}", name=name, fault=text_of(error))) from None


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting with its names.

    Attributes:
        name: the environment variable.
        key: the dotted key in the TOML file, which is also the path of the field from Settings.
        variable: its declaration.
        kind: the annotation of its field, from which the type in the TOML file follows.
    """

    name: str
    key: str
    variable: Variable
    kind: str


def redact_url(text: str) -> str:
    """Return the kind, server and name of a database. The URL itself may contain a password, even in its query."""
    url = make_url(text)
    shown = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
    hosts = url.query.get("host")
    # A URL with several servers has them in its query.
    return shown.update_query_dict({"host": hosts}).render_as_string() if isinstance(hosts, tuple) else str(shown)


def redact_urls(urls: Iterable[str]) -> str:
    """Return the kind, server and name of each database."""
    return " ".join(map(redact_url, urls))


def name_server(text: str) -> str:
    """Return the servers of a database's URL, as `host` or `host:port`, separated by commas."""
    url = make_url(text)
    _, arguments = url.get_dialect()().create_connect_args(url)
    hosts, ports = (str(arguments.get(name, "")).split(",") for name in ("host", "port"))
    if len(ports) < len(hosts):
        ports *= len(hosts)
    return ",".join(f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False))


def program_of(command: str) -> str:
    """Return the program of a command without its arguments, which may hold a secret."""
    return command.split(" ", 1)[0]


def read_address(text: str) -> str:
    """Read host:port."""
    split_address(text)
    return text


def read_service_address(text: str) -> str:
    """Read host:port or unix:/path."""
    return text if socket_path(text) else read_address(text)


def read_optional_address(text: str) -> str:
    """Read host:port, or nothing."""
    return read_address(text) if text else ""


def read_otlp_endpoint(text: str) -> str:
    """Read the URL of a receiver of OTLP over gRPC, or nothing. It has no path, user or query."""
    scheme, separator, address = text.partition("://")
    if not text:
        return ""
    if not separator or scheme not in {"http", "https"}:
        raise ValueError(english("must be http://host:port or https://host:port"))
    split_address(address)
    return text


def read_database_url(text: str) -> str:
    """Read a SQLAlchemy URL of SQLite or PostgreSQL.

    The URL may name the kind of a pooler. It may name several servers, one of which takes writes (docs/operations.md
    §2).
    """
    text = _with_servers_in_query(text)
    try:
        url = make_url(text)
        known = url.drivername in _DRIVERS
    except (ArgumentError, ValueError):
        known = False
    if not known:
        raise ValueError(english("must be sqlite:///path or postgresql://user@host:port/name"))
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ValueError(english("must name a file of SQLite: sqlite:///path"))
    if url.get_backend_name() == "postgresql":
        for option, value in url.query.items():
            if option == POOLER_OPTION:
                if value != TRANSACTION_POOLER:
                    raise ValueError(
                        english("has {option} other than {known}", option=POOLER_OPTION, known=TRANSACTION_POOLER)
                    )
                continue
            try:
                make_conninfo(**{option: "1"})
            except ProgrammingError:
                raise ValueError(
                    english("has an option that PostgreSQL does not know: {option}", option=option)
                ) from None
    return text


def read_replica_urls(text: str) -> tuple[str, ...]:
    """Read URLs of PostgreSQL, separated by spaces, or nothing."""
    urls = tuple(read_database_url(one) for one in text.split())
    if any(make_url(one).get_backend_name() != "postgresql" for one in urls):
        raise ValueError(english("must be postgresql://user@host:port/name, or several of them with spaces between"))
    return urls


def _with_servers_in_query(text: str) -> str:
    """Return a URL of several servers in the form of SQLAlchemy, which reads several servers from the query."""
    found = _SEVERAL_SERVERS.fullmatch(text)
    if found is None:
        return text
    start, servers, database, query = found.groups()
    named = "&".join(f"host={server}" for server in servers.split(","))
    return f"{start}{database or ''}?{named}{'&' + query if query else ''}"


_SEVERAL_SERVERS = re.compile(r"(postgresql(?:\+psycopg)?://(?:[^/?@]*@)?)([^/?@]*,[^/?@]*)(/[^?]*)?(?:\?(.*))?")
"""A URL of several servers in the form of PostgreSQL's own programs: `postgresql://user@one:5432,two:5433/name`."""
_DRIVERS = {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"}
"""The drivers that are installed with Hutong."""


def read_region(text: str) -> str:
    """Read a region of GB/T 2260."""
    if not is_region(text):
        raise ValueError(english("is not a GB/T 2260 region: give six digits such as 410000, or 000000 for the nation"))
    return text


def read_regions(path: Path | None) -> frozenset[str]:
    """Return the codes in an operator's file of regions; none without a file.

    A line has a code, which a name may follow after a space or a comma. Empty lines and lines that begin with # are
    skipped.

    Raises:
        ValueError: the file cannot be read, or a line is wrong. The text names the first wrong line.
    """
    if path is None:
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(unreadable(path, error)) from None
    except UnicodeDecodeError:
        raise ValueError(english("is not a text in UTF-8: save it in UTF-8")) from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        code = line.replace(",", " ").split()[0] if line.replace(",", " ").split() else ""
        if not (len(code) == 6 and code.isascii() and code.isdigit()) or code == NATION:
            raise ValueError(english("line {number}: must begin with a code of six digits", number=number))
        found.setdefault(code, number)
    for code, number in found.items():
        above = parent(code)
        if above is not None and above not in found and not is_region(above):
            raise ValueError(
                english(
                    "line {number}: {code} lies in {above}, which is no region; add that one too",
                    number=number,
                    code=code,
                    above=above,
                )
            )
    return frozenset(found)


def read_path(text: str) -> Path | None:
    """Read a path, or nothing."""
    return Path(text) if text else None


def read_file(text: str) -> Path | None:
    """Read the path of a file that exists, or nothing."""
    path = read_path(text)
    if path is not None and (fault := find_missing(path)):
        raise ValueError(fault)
    return path


def read_descriptor(text: str) -> int | None:
    """Read the number of a file descriptor that the process inherits for reading, or nothing."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 4) or int(text) in {1, 2} or int(text) >= 1024:
        raise ValueError(english("must be the number of an open file descriptor: 0, or 3 to 1023"))
    return int(text)


def read_level(text: str) -> str:
    """Read a log level."""
    if text.lower() not in {"debug", "info", "warning", "error"}:
        raise ValueError(english("must be debug, info, warning or error"))
    return text.lower()


def read_switch(text: str) -> bool:
    """Read 1 for on, or nothing for off."""
    if text not in {"", "1"}:
        raise ValueError(english("must be 1, or not be set"))
    return text == "1"


def read_trust_domain(text: str) -> str:
    """Read the trust domain of SPIFFE IDs."""
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(english("must be a SPIFFE trust domain, like hutong.org"))
    return text


def read_seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(english("must be a number of seconds above 0"))
    return seconds


def read_share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError(english("must be a number from 0 to 1"))
    return share


def count(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""
    bounds = (
        english("at least {least}", least=least)
        if most is None
        else english("{least} to {most}", least=least, most=most)
    )

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise ValueError(english("must be a whole number, {bounds}", bounds=bounds))
        return number

    return read


def variable(
    meaning: Text,
    read: Callable[[str], object] = str,
    default: str | Callable[[Mapping[str, str]], str] = "",
    default_words: Text | None = None,
    *,
    shown: bool = True,
    optional: bool = False,
    redact: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Declare a dataclass field that is read from the environment variable HUTONG_ plus the field's name.

    A `shown` field is logged at the start. An `optional` field is None if the dataclass is made without it.
    """
    metadata = {"variable": Variable(meaning, read, default, default_words, redact), "shown": shown}
    return field(default=None if optional else MISSING, repr=shown, metadata=metadata)
