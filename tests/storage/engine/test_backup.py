"""`hutongd backup` and `hutongd restore`: what they refuse, what they leave behind, and what they never do."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from services.audit.check import RESTORED
from services.command.audit import audit_of, verify_audit
from services.command.backup.make import back_up
from services.command.backup.manifest import MANIFEST, hash_file, read_manifest
from services.command.backup.record import record_restored
from services.command.backup.restore import restore
from services.results.records.tables import pepper_marks
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.engine import open_database
from services.storage.errors import UnusableDatabase
from services.storage.migrate import find_schema_fault, upgrade
from services.storage.pepper_marks import pepper_mark
from services.storage.process_lock import try_sqlite_process_lock
from tests.support.databases import MakeUrl
from tests.support.processes import hutongd
from tests.support.secrets import write_secret

ALL = ("results", "policy", "verification")


def settings_of(folder: Path, **variables: str) -> Settings:
    """The settings of a node whose SQLite databases are in a folder."""
    environment = {"HUTONG_DATA_DIR": str(folder), "HUTONG_JURISDICTION": "410000"}
    environment |= {f"HUTONG_{service.upper()}_DATABASE_URL": f"sqlite:///{folder}/{service}.db" for service in ALL}
    return Settings.from_environment(environment | {f"HUTONG_{key.upper()}": value for key, value in variables.items()})


@pytest.fixture
def node(tmp_path: Path, sqlite_url: MakeUrl) -> Settings:
    """A node with the three databases and a mark of its pepper in Results."""
    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    for service in ALL:
        Path(sqlite_url(service).removeprefix("sqlite:///")).rename(folder / f"{service}.db")
    settings = settings_of(folder)
    row = {"key_version": 1, "mark": pepper_mark(settings.pepper())}
    database = open_database(settings.results.database_url)
    database.write_now(lambda connection: connection.execute(pepper_marks.insert().values(row)))
    database.close()
    return settings


def made(settings: Settings, folder: Path, names: tuple[str, ...] = ALL, *, with_pepper: bool = False) -> Path:
    """Make a backup. Return its folder, which the command prints first."""
    return Path(back_up(settings, names, folder, with_pepper=with_pepper).splitlines()[0])


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_a_backup_is_private_whole_and_without_the_pepper(node: Settings, tmp_path: Path) -> None:
    """A writer that is in the middle of a transaction neither waits for the copy nor appears in it."""
    with closing(sqlite3.connect(node.data_dir / "policy.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO policy_deletion_counts VALUES ('d', 's', 1)")
        folder = made(node, tmp_path / "backups")
        writer.execute("COMMIT")
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *(f"{service}.db" for service in ALL)}
    assert (stat.S_IMODE(folder.stat().st_mode), modes(folder)) == (0o700, {0o600})
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    with closing(sqlite3.connect(folder / "policy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM policy_deletion_counts").fetchone() == (0,)
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.jurisdiction, manifest.has_pepper) == (folder.name, "410000", False)
    assert tuple(one.service for one in manifest.databases) == ALL
    with_it = made(node, tmp_path / "backups", ("results",), with_pepper=True)
    assert (with_it / "pepper").read_bytes() == (node.data_dir / "pepper").read_bytes()
    assert modes(with_it) == {0o600}


def test_a_restored_node_names_the_gap_and_has_this_versions_schema(node: Settings, tmp_path: Path) -> None:
    """The audit's row is in its chain. Nothing is left beside the databases."""
    folder = made(node, tmp_path, with_pepper=True)
    empty = settings_of(tmp_path / "empty")
    said = restore(empty, folder, ALL, SystemClock().now())
    assert [line.split(":")[0] for line in said.splitlines()[:3]] == list(ALL)
    assert {path.name for path in empty.data_dir.iterdir()} == {
        "pepper",
        "results.db-serving",
        *(f"{service}.db" for service in ALL),
    }
    for service in ALL:
        assert not find_schema_fault(service, empty.service(service).database_url)
        database = open_database(empty.service(service).database_url)
        rows = audit_of(empty, service)[0].rows
        stored = database.read_now(lambda connection, rows=rows: connection.execute(select(rows)).mappings().all())
        database.close()
        (row,) = stored
        assert (row["method"], row["object"], row["region"]) == (RESTORED, f"backups/{folder.name}", "410000")
        assert row["caller"].startswith("local:")
    lines, is_well = verify_audit(empty, ALL)
    assert is_well
    assert [line.split(":")[0] for line in lines if f"from the copy {folder.name}" in line] == list(ALL)


def test_a_server_restore_is_recorded_by_a_command(node: Settings) -> None:
    """PostgreSQL is restored by its own tools."""
    assert len(record_restored(node, ("results", "policy"), 0, SystemClock().now())) == 2
    lines, _ = verify_audit(node, ["results"])
    assert any("from the copy 1970-01-01T08:00:00+08:00" in line for line in lines)


def test_an_older_schema_is_migrated(tmp_path: Path) -> None:
    """The copy keeps its revision. The restored database has this version's."""
    node = settings_of(tmp_path / "node")
    node.data_dir.mkdir(mode=0o700)
    upgrade("policy", node.policy.database_url, "0010")
    folder = made(node, tmp_path, ("policy",))
    assert [one.schema for one in read_manifest(folder).databases] == ["0010"]
    empty = settings_of(tmp_path / "empty", pepper_file=str(write_secret(tmp_path / "pepper")))
    restore(empty, folder, ALL, SystemClock().now())
    assert not find_schema_fault("policy", empty.policy.database_url)


def change_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "results.db")) as copy:
        copy.execute("DELETE FROM pepper_marks")
        copy.commit()


def rewrite(folder: Path, **values: Any) -> None:
    """Change the manifest of a backup."""
    stored = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(orjson.dumps({**stored, **values}))


def make_newer(folder: Path) -> None:
    """Give the copy of Results a schema that this version does not know, and the manifest the new hash."""
    with closing(sqlite3.connect(folder / "results.db")) as copy:
        copy.execute("UPDATE alembic_version_results SET version_num = '9999'")
        copy.commit()
    hash_again(folder)


def damage(folder: Path) -> None:
    """Overwrite a page of the copy, and give the manifest the new hash, as a faulty disk does before the copy."""
    file = folder / "results.db"
    content = bytearray(file.read_bytes())
    content[8192:12288] = bytes(b"\xff" * 4096)
    file.write_bytes(content)
    hash_again(folder)


def hash_again(folder: Path) -> None:
    manifest = read_manifest(folder)
    copied = [
        dataclasses.asdict(one) | {"sha256": hash_file(folder / one.file), "size": (folder / one.file).stat().st_size}
        for one in manifest.databases
    ]
    rewrite(folder, databases=copied)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_database, "results.db is not what was backed up"),
        (damage, "results.db is damaged: "),
        (make_newer, r"a newer version wrote it \(schema 9999\)"),
        (lambda folder: (folder / "policy.db").unlink(), "policy.db cannot be read: No such file"),
        (lambda folder: (folder / MANIFEST).unlink(), "is no backup: manifest.json: No such file"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"{"), "is no manifest of a backup"),
        (lambda folder: rewrite(folder, name="../x"), "is no manifest of a backup"),
        (lambda folder: rewrite(folder, databases=[]), "is no manifest of a backup"),
        (lambda folder: rewrite(folder, format=2), "a newer version made this backup"),
        (lambda folder: rewrite(folder, jurisdiction="220000"), "a backup of node 220000, and HUTONG_JURISDICTION is"),
    ],
)
def test_a_backup_that_cannot_be_trusted_restores_nothing(
    spoil: Callable[[Path], object], said: str, node: Settings, tmp_path: Path
) -> None:
    """Everything is checked before the first file is made."""
    folder = made(node, tmp_path)
    spoil(folder)
    empty = settings_of(tmp_path / "empty", pepper_file=str(node.data_dir / "pepper"))
    with pytest.raises((BadSetting, UnusableDatabase), match=said):
        restore(empty, folder, ALL, SystemClock().now())
    assert not empty.data_dir.exists()


def test_nothing_is_replaced_and_no_other_pepper_is_taken(node: Settings, tmp_path: Path) -> None:
    """A log that an earlier database has left would spoil the restored one, so its name counts too."""
    folder = made(node, tmp_path)
    before = (node.data_dir / "results.db").read_bytes()
    with pytest.raises(UnusableDatabase, match=r"results\.db exists: stop the service and move it away"):
        restore(node, folder, ALL, SystemClock().now())
    assert (node.data_dir / "results.db").read_bytes() == before
    empty = settings_of(tmp_path / "empty")
    with pytest.raises(BadSetting, match="the pepper is not in the backup: put it to"):
        restore(empty, folder, ALL, SystemClock().now())
    other = settings_of(tmp_path / "empty", pepper_file=str(write_secret(tmp_path / "other")))
    with pytest.raises(BadSetting, match="is not the one that this database was filled under"):
        restore(other, folder, ALL, SystemClock().now())
    assert {path.name for path in other.data_dir.iterdir()} == {"results.db-serving"}
    (other.data_dir / "policy.db-wal").touch()
    with pytest.raises(UnusableDatabase, match=r"policy\.db-wal exists"):
        restore(other, folder, ("policy",), SystemClock().now())
    with (
        try_sqlite_process_lock(other.results.database_url, "serving"),
        pytest.raises(UnusableDatabase, match="Results is being served"),
    ):
        restore(other, folder, ("results",), SystemClock().now())


def test_what_cannot_be_backed_up_leaves_nothing(node: Settings, tmp_path: Path) -> None:
    """Each line says what to do, and no folder with the name of a backup is left."""
    folder = tmp_path / "backups"
    for variables, names, with_pepper, said in (
        ({"policy_database_url": "postgresql://db/policy"}, ALL, False, "policy is on a server: back it up with"),
        ({"data_dir": str(tmp_path / "none")}, ("results",), True, "there is no file"),
        ({"pepper_command": "cat pepper"}, ALL, True, "this pepper comes from a command"),
    ):
        with pytest.raises((BadSetting, UnusableDatabase), match=said):
            back_up(settings_of(node.data_dir, **variables), names, folder, with_pepper=with_pepper)
    with pytest.raises(UnusableDatabase, match="there is no database of results at"):
        back_up(settings_of(tmp_path / "none"), ("results",), folder, with_pepper=False)
    with pytest.raises(UnusableDatabase, match="none of the databases is on this machine"):
        back_up(settings_of(tmp_path / "none"), ALL, folder, with_pepper=False)
    damaged = node.data_dir / "results.db"
    damaged.write_bytes(damaged.read_bytes()[:8192] + b"\xff" * 4096 + damaged.read_bytes()[12288:])
    with pytest.raises(UnusableDatabase, match=r"the database of results (is damaged|cannot be copied)"):
        back_up(node, ALL, folder, with_pepper=False)
    damaged.write_bytes(b"no database" * 100)
    with pytest.raises(UnusableDatabase, match="the database of results cannot be copied"):
        back_up(node, ALL, folder, with_pepper=False)
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match=r"the backup cannot be written to .*: (Not a directory|File exists)"):
        back_up(node, ("policy",), tmp_path / "file", with_pepper=False)


def test_the_commands(node: Settings, tmp_path: Path) -> None:
    """The commands are run as an operator runs them."""
    variables = {"data_dir": str(node.data_dir), "jurisdiction": "410000"}
    done = hutongd("backup", "--to", str(tmp_path / "backups"), "--with-pepper", **variables)
    assert done.returncode == 0, done.stderr
    folder = done.stdout.splitlines()[0]
    done = hutongd("backup", "policy", "--to", str(tmp_path / "backups"), **variables)
    assert (done.returncode, len(read_manifest(Path(done.stdout.splitlines()[0])).databases)) == (0, 1)
    variables["data_dir"] = str(tmp_path / "empty")
    done = hutongd("restore", folder, "policy", **variables)
    assert (done.returncode, done.stdout.startswith("policy: restored to ")) == (0, True), done.stderr
    done = hutongd("restore", folder, **variables)
    assert (done.returncode, "policy.db exists" in done.stderr) == (2, True)
    done = hutongd("audit", "record-restore", "--copy-of", "2022-08-11T09:30:00+08:00", "policy", **variables)
    assert (done.returncode, done.stdout) == (0, "policy: the audit names the restore\n")
    database = open_database(f"sqlite:///{tmp_path}/empty/policy.db")
    rows = audit_of(node, "policy")[0].rows
    assert len(database.read_now(lambda connection: connection.execute(select(rows)).all())) == 2
    database.close()
