"""The steps of docs/backup.md for SQLite, as an operator follows them. tests/tools plays those for PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from tests.support.databases import MakeUrl
from tests.support.pages import block
from tests.support.processes import environment, hutongd, run

BACKUP = "hutong-410000-20261130T001325138554Z"
"""The backup that the page restores as an example."""


def test_sqlite_is_backed_up_and_restored(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The blocks as they stand, with other folders."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    data.mkdir(mode=0o700)
    for service in ("results", "policy", "verification"):
        Path(sqlite_url(service).removeprefix("sqlite:///")).rename(data / f"{service}.db")
    (data / "results.db-wal").touch()
    lock = data / "results.db-serving"
    lock.touch()
    served = lock.stat().st_ino
    pepper = data / "pepper"
    pepper.write_bytes(b"p" * 32)
    pepper.chmod(0o600)
    variables = environment(data_dir=str(data), jurisdiction="410000")

    def follow(steps: str) -> str:
        for here, there in (("/backup/hutong", str(backups)), ("/var/lib/hutong", str(data))):
            steps = steps.replace(here, there)
        done = run(["sh", "-ec", steps], env=variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    follow(block("docs/backup.md", "sh", "hutongd backup --to"))
    (made,) = backups.iterdir()
    said = follow(block("docs/backup.md", "sh", "hutongd restore /backup/hutong/").replace(BACKUP, made.name))
    assert said.count(f"from the copy {made.name}") == 3
    assert lock.stat().st_ino == served, "a process that still served Results would not be noticed"
    assert hutongd("doctor", "results", data_dir=str(data), jurisdiction="410000").returncode < 2
