"""Files that other users of the machine can use, and files that they cannot."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.command.files.private_files import check_private_files, find_open_files
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from tests.support.processes import hutongd, run

SERVICES = ("results", "policy")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can enter, unlike the folders of tests."""
    with tempfile.TemporaryDirectory(prefix="hutong-test-") as name:
        place = Path(name).resolve()
        place.chmod(0o755)
        yield place


def settings(place: Path, **variables: str) -> Settings:
    own = {"HUTONG_DATA_DIR": str(place / "data"), "HUTONG_INSECURE": "1"}
    return Settings.from_environment(own | {f"HUTONG_{name.upper()}": value for name, value in variables.items()})


def found(settings: Settings) -> list[str]:
    return list(find_open_files(settings, SERVICES))


@pytest.mark.parametrize(("mode", "is_open"), [(0o700, False), (0o750, True), (0o701, True), (0o755, True)])
def test_a_data_folder_is_its_owners_alone(mode: int, is_open: bool, place: Path) -> None:
    """The line says what to type, and following it helps."""
    folder = place / "data"
    folder.mkdir()
    folder.chmod(mode)
    faults = found(settings(place))
    assert faults == ([f"HUTONG_DATA_DIR: other users of this machine can use {folder}: chmod 700 {folder}"] * is_open)
    if is_open:
        with pytest.raises(BadSetting, match="chmod 700"):
            check_private_files(settings(place), SERVICES)
        run(["chmod", "700", str(folder)])
        assert found(settings(place)) == []


@pytest.mark.parametrize("name", ["pepper_file", "pepper_other_file"])
@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_secret_is_not_everybodys(mode: int, is_open: bool, name: str, place: Path) -> None:
    """A group may read it. A folder that others cannot enter protects what is in it."""
    secret = place / "pepper"
    secret.write_bytes(b"p" * 32)
    secret.chmod(mode)
    given = {name: str(secret)} | ({"pepper_other_version": "2"} if "other" in name else {})
    node = settings(place, **given)
    assert found(node) == (
        [f"HUTONG_{name.upper()}: every user of this machine can use {secret}: chmod o-rwx {secret}"] * is_open
    )
    place.chmod(0o700)
    assert found(node) == []


@pytest.mark.parametrize("name", ["tls_client_ca_file", "deny_file", "access_file"])
def test_what_decides_who_is_admitted_is_changed_by_its_owner_alone(name: str, place: Path) -> None:
    """Others may read it. They may neither write it nor replace it in its folder."""
    file = place / "rules"
    file.touch()
    file.chmod(0o644)
    (place / "private").mkdir(mode=0o700)
    own = str(place / "private" / "own.pem")
    Path(own).touch()
    served = {"tls_certificate_file": own, "tls_key_file": own, "tls_client_ca_file": own, "insecure": ""}
    given = served | {name: str(file)}
    node = settings(place, **given)
    assert found(node) == []
    file.chmod(0o646)
    assert f"HUTONG_{name.upper()}: every user of this machine can change {file}" in found(node)[-1]
    file.chmod(0o644)
    place.chmod(0o777)
    assert f"HUTONG_{name.upper()}: every user of this machine can change {file}" in found(node)[-1]
    place.chmod(0o1777)
    assert found(node) == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hutong:p0ss@db/results",
        "postgresql://hutong:p0ss[#@db/results",
        "postgresql://hutong@db/results?password=p0ss-word",
        "postgresql://hutong@db/results?sslpassword=p0ss-word",
    ],
)
def test_a_password_in_the_configuration_is_not_everybodys(url: str, place: Path) -> None:
    """A configuration without a secret may be read. Nobody else may change any."""
    config = place / "hutong.toml"
    config.write_text(f'insecure = true\n[results]\ndatabase_url = "{url}"\n')
    config.chmod(0o644)
    with pytest.raises(BadSetting, match=r"can read the password in .*: chmod o-rwx") as caught:
        Settings.from_environment({}, config)
    assert "p0ss" not in str(caught.value).replace(str(place), "")
    config.chmod(0o640)
    assert Settings.from_environment({}, config).results.database_url == url
    config.write_text("insecure = true\n")
    config.chmod(0o644)
    Settings.from_environment({}, config)
    config.chmod(0o666)
    with pytest.raises(BadSetting, match="can change"):
        Settings.from_environment({}, config)


def test_a_database_outside_the_data_folder_is_not_everybodys(place: Path) -> None:
    """The folder of such a database may be anybody's, so only the file counts."""
    file = place / "results.db"
    file.touch()
    file.chmod(0o644)
    node = settings(place, results_database_url=f"sqlite:///{file}")
    assert found(node) == [f"every user of this machine can use the database {file}: chmod o-rwx {file}"]
    file.chmod(0o640)
    assert found(node) == []


def test_what_a_process_makes_is_its_owners_alone(place: Path) -> None:
    """Whatever the umask of its shell; and an open folder is refused with exit code 2 and one line."""
    before = os.umask(0o000)
    try:
        ended = hutongd("migrate", "policy", data_dir=str(place / "data"))
    finally:
        os.umask(before)
    assert (ended.returncode, ended.stderr) == (0, "")
    made = [place / "data", *(place / "data").iterdir()]
    assert [path.name for path in made if path.stat().st_mode & 0o077] == []
    (place / "data").chmod(0o755)
    ended = hutongd("migrate", "policy", data_dir=str(place / "data"))
    assert ended.returncode == 2
    assert ended.stderr.startswith("hutongd: HUTONG_DATA_DIR: other users of this machine can use ")
