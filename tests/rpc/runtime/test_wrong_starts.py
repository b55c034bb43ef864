"""Wrong starts, as operators make them: one line that says what is wrong and what to do, in English and in Chinese."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import insert

from services.domain.subject import Pepper
from services.results.records.tables import pepper_marks
from services.storage.engine import open_database
from services.storage.migrate import upgrade
from services.storage.pepper_marks import pepper_mark
from tests.support.certificates import Authority
from tests.support.databases import MakeUrl, PostgresServer
from tests.support.processes import environment, hutongd, run
from tests.support.secrets import write_secret

COMMANDS = {
    "serve": ["serve", "results"],
    "migrate": ["migrate", "results"],
    "purge": ["purge", "--older-than", "30d"],
    "backup": ["backup", "results", "--to", "{folder}/backups"],
    "audit": ["audit", "verify", "results"],
    "key": ["key", "status"],
    "who-read": ["audit", "who-read", "results", "--number", "12AB34567", "--type", "passport", "--country", "FRA"],
    "record-restore": ["audit", "record-restore", "results", "--copy-of", "2022-08-11T00:00:00+08:00"],
    "backup with the pepper": ["backup", "results", "--to", "{folder}/backups", "--with-pepper"],
    "doctor": ["doctor", "results"],
    "check": ["config", "check"],
}
LANGUAGES = ("en", "zh")
AT_ONCE = 4
"""How many commands run at once."""
A_DAY = dt.timedelta(days=1)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
Prepare = Callable[[Path], Mapping[str, str]]
"""Prepares a folder for a wrong start. Returns the settings, with {folder} for the folder."""


def setting(**variables: str) -> Prepare:
    return lambda _folder: variables


def config(content: bytes) -> Prepare:
    def prepare(folder: Path) -> Mapping[str, str]:
        (folder / "hutong.toml").write_bytes(content)
        return {"config": "{folder}/hutong.toml"}

    return prepare


def data(name: str = "", content: bytes | None = None) -> Prepare:
    """Make a folder, or a file with content, in the data folder or in place of it."""

    def prepare(folder: Path) -> Mapping[str, str]:
        path = folder / "data" / name if name else folder / "data"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if content is None:
            path.mkdir(mode=0o700, parents=True)
        else:
            path.write_bytes(content)
            path.chmod(0o600)
        return {}

    return prepare


def secret(content: bytes, **variables: str) -> Prepare:
    def prepare(folder: Path) -> Mapping[str, str]:
        write_secret(folder / "secret", content)
        return variables or {"pepper_file": "{folder}/secret"}

    return prepare


def rules(content: bytes) -> Prepare:
    """Write a file of access rules."""

    def prepare(folder: Path) -> Mapping[str, str]:
        write_secret(folder / "access.yaml", content)
        return {"access_file": "{folder}/access.yaml"}

    return prepare


def certificate(kind: str) -> Prepare:
    """Give a node a certificate that is not for servers, or authorities whose certificates may not sign others."""

    def prepare(folder: Path) -> Mapping[str, str]:
        authority, other = Authority(folder, "authority"), Authority(folder, "other")
        lives = {"expired": (-2 * A_DAY, -A_DAY), "not valid yet": (A_DAY, 2 * A_DAY)}
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] if kind == "for clients" else []
        own = authority.sign("own", life=lives.get(kind), purposes=purposes)
        trusted = own.certificate if kind == "no authority" else authority.root.certificate
        return {
            "tls_certificate_file": str(own.certificate),
            "tls_key_file": str((other.sign("its") if kind == "foreign key" else own).key),
            "tls_client_ca_file": str(trusted),
            "tls_server_ca_file": str(trusted),
        }

    return prepare


EVERY = ("serve", "migrate", "purge", "backup", "audit", "key", "doctor", "check")
OF_SETTINGS = ("serve", "doctor", "check")
OF_SECRETS = ("serve", "doctor", "key")
WRONG: dict[str, tuple[tuple[str, ...], Prepare, str]] = {
    "unknown setting": (EVERY, setting(result_address="x"), "(did you mean|是否指) HUTONG_RESULTS_ADDRESS"),
    "address without a port": (OF_SETTINGS, setting(results_address="127.0.0.1"), "host:port|主机:端口"),
    "IPv6 without brackets": (OF_SETTINGS, setting(results_address="::1:50051"), r"\[::1\]:50051"),
    "address of others": (OF_SETTINGS, setting(results_address="[2001:db8::1]:1", insecure=""), "HUTONG_TLS_KEY_FILE"),
    "long socket": (OF_SETTINGS, setting(results_address=f"unix:/{'x' * 200}"), "100"),
    "database of another kind": (EVERY, setting(results_database_url="mysql://x/y"), "sqlite:///"),
    "option of a database": (OF_SETTINGS, setting(results_database_url="postgresql://x/y?nonsense=1"), "nonsense"),
    "port of a database": (OF_SETTINGS, setting(results_database_url="postgresql://x:abc/y"), "sqlite:///"),
    "SQLite without a file": (OF_SETTINGS, setting(results_database_url="sqlite://"), "sqlite:///"),
    "replica of SQLite": (
        OF_SETTINGS,
        setting(results_replica_url="postgresql://standby/results"),
        "HUTONG_RESULTS_DATABASE_URL",
    ),
    "replica that is SQLite": (OF_SETTINGS, setting(results_replica_url="sqlite:///x.db"), "postgresql://"),
    "data folder is a file": (("serve", "migrate", "purge", "audit", "doctor"), data(content=b"x"), "HUTONG_DATA_DIR"),
    "database is a folder": (("purge", "audit", "key", "doctor"), data("results.db"), "HUTONG_DATA_DIR"),
    "database to serve is a folder": (("serve", "migrate"), data("results.db"), "check|检查"),
    "database is garbage": (EVERY[:-1], data("results.db", b"garbage" * 1000), "restore a backup|恢复备份"),
    "no pepper": (OF_SECRETS, setting(pepper_file="{folder}/none"), "HUTONG_PEPPER_FILE.*(put the file|放到)"),
    "short pepper": (OF_SECRETS, secret(b"123"), "32"),
    "pepper is a folder": (OF_SECRETS, setting(pepper_file="{folder}"), "HUTONG_PEPPER_FILE.*(not a folder|不是目录)"),
    "no command of the pepper": (OF_SECRETS, setting(pepper_command="no-such-program"), "HUTONG_PEPPER_COMMAND"),
    "two peppers": (
        OF_SETTINGS,
        secret(b"1" * 32, pepper_file="{folder}/secret", pepper_command="cat"),
        "HUTONG_PEPPER",
    ),
    "no certificate": (OF_SETTINGS, setting(tls_certificate_file="{folder}/none"), "HUTONG_TLS_CERTIFICATE_FILE"),
    "certificate without a key": (
        OF_SETTINGS,
        secret(b"x", tls_certificate_file="{folder}/secret"),
        "HUTONG_TLS_KEY_FILE",
    ),
    "certificate for clients": (OF_SETTINGS, certificate("for clients"), "serverAuth"),
    "expired certificate": (OF_SETTINGS, certificate("expired"), "HUTONG_TLS_CERTIFICATE_FILE.*(renew|更新)"),
    "certificate of tomorrow": (OF_SETTINGS, certificate("not valid yet"), "(clock|时钟)"),
    "key of another certificate": (OF_SETTINGS, certificate("foreign key"), "HUTONG_TLS_KEY_FILE"),
    "certificate in place of an authority": (OF_SETTINGS, certificate("no authority"), "HUTONG_TLS_CLIENT_CA_FILE"),
    "role that is unknown": (OF_SETTINGS, rules(b"grants:\n- role: guest\n"), r"grants\[0\]\.role"),
    "no YAML": (("doctor", "check"), rules(b"grants: [\n"), "YAML.*2"),
    "no TOML": (OF_SETTINGS, config(b"jurisdiction = \n"), "TOML.*1.*16"),
    "TOML of another encoding": (OF_SETTINGS, config(b"\xff\xfe\x00"), "TOML"),
    "unknown key in TOML": (OF_SETTINGS, config(b'jurisdicton = "000000"'), "jurisdiction"),
    "wrong type in TOML": (OF_SETTINGS, config(b'max_calls = "many"'), "max_calls"),
    "no configuration file": (OF_SETTINGS, setting(config="{folder}/none"), "none.*hutongd config example"),
    "configuration is a folder": (OF_SETTINGS, setting(config="{folder}"), "{folder}.*(not a folder|不是目录)"),
    "too few calls": (OF_SETTINGS, setting(max_calls="-1"), "HUTONG_MAX_CALLS"),
    "no number": (OF_SETTINGS, setting(drain_seconds="soon"), "HUTONG_DRAIN_SECONDS"),
    "no switch": (OF_SETTINGS, setting(insecure="yes"), "HUTONG_INSECURE"),
    "no region": (OF_SETTINGS, setting(jurisdiction="99"), "410000"),
    "file of regions": (OF_SETTINGS, secret(b"abc\n", regions_file="{folder}/secret"), "HUTONG_REGIONS_FILE"),
    "upstream is the node": (
        OF_SETTINGS,
        secret(
            b"1" * 32,
            jurisdiction="410000",
            upstream="127.0.0.1:50051",
            results_address="127.0.0.1:50051",
            pepper_file="{folder}/secret",
        ),
        "HUTONG_UPSTREAM",
    ),
    "workers on SQLite": (("serve",), setting(results_workers="2"), "PostgreSQL"),
    "no endpoint of traces": (OF_SETTINGS, setting(otlp_endpoint="localhost:4317"), "http://host:port|http"),
    "level of logs": (OF_SETTINGS, setting(log_level="loud"), "HUTONG_LOG_LEVEL"),
}


def lines_of(arguments: list[str], variables: Mapping[str, str]) -> list[str]:
    """Run a command that must fail. Return the lines that say why: the faults of doctor, or all of standard error."""
    ended = hutongd(*arguments, **variables)
    if arguments[0] == "doctor":
        assert not ended.stderr, ended.stderr
        found = [line for line in ended.stdout.splitlines() if line.startswith(("fault", "故障"))]
        assert (ended.returncode, bool(found)) == (2, True), ended.stdout
        return found
    assert ended.returncode in {1, 2}, ended
    return ended.stderr.splitlines()


def check_one(command: str, language: str, variables: Mapping[str, str], cause: str) -> None:
    """Check that a command ends with one line in one language, and that the line says what to do."""
    arguments = [one.replace("{folder}", str(Path(variables["data_dir"]).parent)) for one in COMMANDS[command]]
    lines = lines_of([*arguments, "--lang", language], variables)
    assert command == "doctor" or len(lines) == 1, lines
    (line,) = [one for one in lines if re.search(cause, one)][:1] or [""]
    assert line, lines
    assert "Traceback" not in line
    assert command == "doctor" or line.startswith("hutongd: ")
    assert bool(CHINESE.search(line.replace(str(variables["data_dir"]), ""))) == (language == "zh"), line


def in_turns(commands: Sequence[str]) -> list[tuple[str, str]]:
    """Return each command with one of the languages, in turns. A single command comes with each language.

    One language for each command is enough, because all commands find and describe a fault by the same code.
    """
    if len(commands) == 1:
        return [(commands[0], language) for language in LANGUAGES]
    return [*zip(commands, itertools.cycle(LANGUAGES))]


def side_by_side(work: Iterable[Callable[[], None]]) -> None:
    """Run checks side by side, because the commands wait most of the time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for done in [threads.submit(one) for one in work]:
            done.result()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_start_says_what_to_do(name: str, tmp_path: Path) -> None:
    """Each command has a folder of its own."""
    commands, prepare, cause = WRONG[name]

    def start(command: str, language: str) -> None:
        folder = tmp_path / f"{command}-{language}"
        folder.mkdir()
        given = {"data_dir": "{folder}/data", "results_address": "127.0.0.1:0", **prepare(folder)}
        variables = {key: value.replace("{folder}", str(folder)) for key, value in given.items()}
        check_one(command, language, variables, cause.replace("{folder}", re.escape(str(folder))))

    side_by_side(partial(start, command, language) for command, language in in_turns(commands))


@contextlib.contextmanager
def taken() -> Iterator[str]:
    """An address at which another program listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_an_address_that_is_taken(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    others = {"data_dir": str(tmp_path), "results_address": "127.0.0.1:0", "upload_workers": "0"}
    with taken() as address:
        side_by_side(
            partial(
                check_one, command, language, others | {"results_database_url": sqlite_url("results")} | given, cause
            )
            for language in LANGUAGES
            for command, given, cause in (
                ("serve", {"results_address": address}, "HUTONG_RESULTS_ADDRESS"),
                ("doctor", {"results_address": address}, "HUTONG_RESULTS_ADDRESS"),
                ("serve", {"metrics_address": address}, "free it|释放"),
            )
        )


def newer_database(url: str) -> str:
    """Write to a database of Results as a newer version would. Return its URL."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE alembic_version_results SET version_num = 'ffff'")
        database.commit()
    return url


def test_a_newer_schema(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A start, which would migrate the database, also reports that the database is newer."""
    variables = {"data_dir": str(tmp_path), "results_address": "127.0.0.1:0"}
    side_by_side(
        partial(
            check_one,
            command,
            language,
            variables | {"results_database_url": newer_database(sqlite_url("results"))},
            "install that version|安装",
        )
        for command, language in in_turns(("serve", "migrate", "purge", "audit", "key", "doctor"))
    )


def test_a_server_that_cannot_be_used(tmp_path: Path, postgres_server: PostgresServer) -> None:
    """No such database, no such role, no server, and an unmigrated database."""
    host = postgres_server.url.rpartition("host=")[2]
    urls = {
        f"postgresql://postgres@/nowhere?host={host}": "HUTONG_RESULTS_DATABASE_URL",
        f"postgresql://stranger@/postgres?host={host}": "HUTONG_RESULTS_DATABASE_URL",
        "postgresql://postgres@127.0.0.1:1/x": "HUTONG_RESULTS_DATABASE_URL",
        "postgresql://postgres@no.such.host.invalid/x": "HUTONG_RESULTS_DATABASE_URL",
    }
    variables = {
        "data_dir": str(tmp_path),
        "results_address": "127.0.0.1:0",
        "pepper_file": str(write_secret(tmp_path / "p")),
    }
    side_by_side(
        partial(check_one, command, language, variables | {"results_database_url": url}, cause)
        for url, cause in urls.items()
        for command, language in in_turns(("migrate", "purge", "audit", "key", "doctor"))
    )
    empty = variables | {"results_database_url": postgres_server.make_empty()}
    side_by_side(
        partial(check_one, command, language, empty, "hutongd migrate results")
        for command, language in in_turns(("purge", "audit", "doctor"))
    )


def test_a_pepper_of_another_database(tmp_path: Path) -> None:
    """Every command that uses the pepper refuses it with one line, and changes nothing."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    first = write_secret(tmp_path / "first", b"1" * 32)
    url = f"sqlite:///{data_dir}/results.db"
    upgrade("results", url)
    with contextlib.closing(open_database(url)) as database:
        row = {"key_version": 1, "mark": pepper_mark(Pepper(first.read_bytes()))}
        database.write_now(lambda connection: connection.execute(insert(pepper_marks).values(row)))
    variables = {"data_dir": str(data_dir), "results_address": "127.0.0.1:0"}
    wrong = variables | {"pepper_file": str(write_secret(tmp_path / "second", b"2" * 32))}
    offline = ("purge", "audit", "who-read", "record-restore", "key", "backup with the pepper", "doctor")
    cause = "HUTONG_PEPPER_FILE.*_DESCRIPTOR.*_COMMAND"
    side_by_side(partial(check_one, command, language, wrong, cause) for command, language in in_turns(offline))
    check_one("serve", "zh", wrong, cause)
    with contextlib.closing(sqlite3.connect(data_dir / "results.db")) as stored:
        assert stored.execute("SELECT count(*) FROM deletions").fetchone() == (0,)
    ended = hutongd(*COMMANDS["purge"], **variables | {"pepper_file": str(first)})
    assert (ended.returncode, ended.stderr) == (0, "")


def as_another_user(arguments: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `hutongd` as a user that owns nothing."""
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "services", *arguments]
    return run(command, env=environment(**variables) | {"PYTHONDONTWRITEBYTECODE": "1"})


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can run it as another user")
def test_files_of_another_user(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    upgrade("results", f"sqlite:///{folder}/results.db")
    for at in (tmp_path, *tmp_path.parents):
        if at != Path("/tmp") and str(at).startswith("/tmp/"):
            at.chmod(at.stat().st_mode | 0o055)
    for command in ("serve", "doctor"):
        ended = as_another_user(COMMANDS[command], {"data_dir": str(folder), "results_address": "127.0.0.1:0"})
        assert ended.returncode in {1, 2}
        assert "Traceback" not in ended.stderr
        said = ended.stdout if command == "doctor" else ended.stderr
        (line,) = [one for one in said.splitlines() if "private files" in one or one.startswith("hutongd:")][:1]
        assert re.search(f"{folder} belongs to root, so that \\w+ cannot use it: as root, chown \\w+ {folder}$", line)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_in_the_folder_of_another_user(tmp_path: Path) -> None:
    """Root is told as whom to run what makes files, and makes none. The doctor and the checks make none anyway."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    variables = {"data_dir": str(folder), "results_address": "127.0.0.1:0"}
    side_by_side(
        partial(check_one, command, language, variables, r"(runuser -u \w+ --|setpriv --reuid=65534)")
        for command, language in in_turns(("serve", "migrate", "purge"))
    )
    assert hutongd("config", "check", "results", **variables).returncode == 0
    assert hutongd("doctor", "results", **variables).returncode in {0, 1}
    assert list(folder.iterdir()) == []


def test_few_files_and_a_full_output(tmp_path: Path) -> None:
    """The limit of open files is named, and an output that takes no more is one line too."""
    variables = environment(data_dir=str(tmp_path), results_address="127.0.0.1:0")
    hutong = f"{sys.executable} -m services"

    def fail(script: str, cause: str) -> None:
        ended = run(["sh", "-c", script], env=variables)
        assert ended.returncode in {1, 2}, ended.stderr
        (line,) = ended.stderr.splitlines()
        assert re.fullmatch(f"hutongd: .*{cause}.*", line)

    def fail_beside_a_database() -> None:
        folder = tmp_path / "data"
        folder.mkdir(mode=0o700)
        (folder / "results.db-serving").mkdir()
        fail(f"HUTONG_DATA_DIR={folder} exec {hutong} serve results", f"{folder}/results.db-serving.*HUTONG_DATA_DIR")

    def end_well() -> None:
        closed = run(["sh", "-c", f"exec {hutong} config show >&-"], env=variables)
        assert (closed.returncode, closed.stderr) == (0, "")

    side_by_side(
        (
            partial(fail, f"ulimit -n 64; exec {hutong} serve results", "ulimit -n"),
            partial(fail, f"exec {hutong} config show > /dev/full", "free some space"),
            fail_beside_a_database,
            end_well,
        )
    )
