"""Files that a command of root would make in a folder of another user, and files that belong to another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.command.backup.make import back_up
from services.command.config import check_settings
from services.command.files.file_owners import find_foreign_files, refuse_foreign_files, refuse_foreign_root
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.migrate import upgrade

SERVICES = ("results", "policy")
OTHER = 65534
"""The id of a user that every system has and that owns nothing."""
UNNAMED = 3_999_999
"""The id of a user that no system names."""


def settings(folder: Path, **variables: str) -> Settings:
    own = {"HUTONG_DATA_DIR": str(folder), "HUTONG_INSECURE": "1"}
    return Settings.from_environment(own | {f"HUTONG_{name.upper()}": value for name, value in variables.items()})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of another user, as root sees it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, OTHER, OTHER)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def test_root_makes_nothing_in_the_folder_of_another_user(folder: Path) -> None:
    """A folder that does not exist yet counts as one of the user who owns the folder above it."""
    for data in (folder, folder / "deeper/data"):
        with pytest.raises(BadSetting, match=r"run this command with (runuser -u|setpriv)"):
            refuse_foreign_root(settings(data), SERVICES)
    with pytest.raises(BadSetting, match="its owner could not use it"):
        refuse_foreign_root(settings(folder), [], [folder / "backups"])
    elsewhere = f"sqlite:///{folder}/results.db"
    with pytest.raises(BadSetting, match="root would own"):
        refuse_foreign_root(settings(Path("/none"), results_database_url=elsewhere), SERVICES)


def test_what_root_makes_elsewhere(folder: Path) -> None:
    """A database on a server and a given pepper need no folder. In a folder of root, root makes what it likes."""
    servers = {f"{service}_database_url": "postgresql://x/y" for service in ("results", "policy", "verification")}
    given = settings(folder, **servers, pepper_file="/none")
    refuse_foreign_root(given, SERVICES)
    refuse_foreign_root(settings(Path("/none")), SERVICES, [Path("/none/backups")])


def test_a_user_makes_what_the_system_permits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    refuse_foreign_root(settings(folder), SERVICES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_text_names_a_command_for_a_user_without_a_name(folder: Path) -> None:
    os.chown(folder, UNNAMED, UNNAMED)
    with pytest.raises(BadSetting, match=f"setpriv --reuid={UNNAMED} --regid={UNNAMED} --clear-groups before it"):
        refuse_foreign_root(settings(folder), SERVICES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("name", ["results.db", "results.db-wal", "results.db-serving", "pepper"])
def test_files_of_root_in_the_folder_of_another_user(name: str, folder: Path) -> None:
    """The text says what to type, and following it helps. Checks and the doctor find them, and no command starts."""
    (folder / name).touch(mode=0o600)
    given = settings(folder)
    (text,) = map(str, find_foreign_files(given, SERVICES))
    path = folder / name
    assert text == f"{path} belongs to root, so that nobody cannot use it: as root, chown nobody {path}"
    for check in (refuse_foreign_files, check_settings):
        with pytest.raises(BadSetting, match="chown nobody"):
            check(given, SERVICES)
    os.chown(folder / name, OTHER, OTHER)
    assert list(find_foreign_files(given, SERVICES)) == []


def test_files_that_this_user_cannot_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pepper need only be readable. Files beside the databases do not count. Their folder does."""
    for name in ("results.db", "pepper", "results.db.old"):
        (folder / name).touch()
    monkeypatch.setattr(os, "geteuid", lambda: UNNAMED)
    monkeypatch.setattr(os, "access", lambda file, wanted: file == folder or not wanted & os.W_OK)
    (text,) = map(str, find_foreign_files(settings(folder), SERVICES))
    assert text.startswith(f"{folder}/results.db belongs to ")
    assert text.endswith(f"as root, chown {UNNAMED} {folder}/results.db")
    monkeypatch.setattr(os, "access", lambda file, _wanted: file != folder)
    (text,) = map(str, find_foreign_files(settings(folder), SERVICES))
    assert text.endswith(f"as root, chown {UNNAMED} {folder}")
    monkeypatch.setattr(os, "access", lambda _file, _wanted: True)
    assert list(find_foreign_files(settings(folder), SERVICES)) == []


def test_a_backup_of_root_leaves_the_databases_to_their_owner(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite gives the files that it makes beside a database to the owner of the database."""
    given = settings(folder)
    upgrade("results", given.results.database_url)
    os.chown(folder / "results.db", *owner_of(folder))
    back_up(given, ["results"], tmp_path / "backups", with_pepper=False)
    assert {owner_of(path) for path in folder.iterdir()} == {owner_of(folder)}


def owner_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid
