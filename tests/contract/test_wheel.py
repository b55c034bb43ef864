"""Tests of the client wheel in environments with nothing but its own dependencies."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "clients/python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as `make wheel` does."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(CLIENT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheel and its extra `cli`."""
    return make_environment(tmp_path_factory.mktemp("environment"), wheel, "cli")


@pytest.fixture(scope="module")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheel and no extra."""
    return make_environment(tmp_path_factory.mktemp("bare"), wheel)


def make_environment(home: Path, wheel: Path, extra: str = "") -> Path:
    """Make an environment with the wheel and its dependencies. Return its Python.

    The dependencies are linked from the environment of the tests, so nothing is downloaded.
    """
    venv.create(home, symlinks=True)
    python = home / "bin/python"
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(site)
    for path in files_of(closure(requirements_of(wheel, extra))):
        link = site / path.name
        if link.exists() and link.is_dir():
            # Several distributions share google/, so its children are linked one by one.
            for child in path.iterdir():
                if not (link / child.name).exists():
                    (link / child.name).symlink_to(child)
        elif not link.exists():
            link.symlink_to(path)
    return python


def requirements_of(wheel: Path, extra: str) -> list[str]:
    """Return the requirements of the wheel and of its extra."""
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        found = re.findall(r"^Requires-Dist: (.+)$", content.read(name).decode(), re.MULTILINE)
    marked = f"; extra == '{extra}'"
    return [requirement.removesuffix(marked) for requirement in found]


def closure(requirements: list[str]) -> set[str]:
    """Return the distributions that are needed, directly and through others, without extras."""
    seen: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = name_of(requirement)
        if "extra ==" not in requirement and name not in seen and applies(requirement):
            seen.add(name)
            waiting += importlib.metadata.requires(name) or []
    return seen


def name_of(requirement: str) -> str:
    """Return the distribution that a requirement such as "grpcio>=1.76" names."""
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return match[0].lower()


def applies(requirement: str) -> bool:
    """Return whether a requirement's marker applies to this interpreter.

    A requirement that is not installed here does not apply here.
    """
    try:
        importlib.metadata.distribution(name_of(requirement))
    except importlib.metadata.PackageNotFoundError:
        assert ";" in requirement, f"{requirement} is not installed"
        return False
    return True


def files_of(names: set[str]) -> set[Path]:
    """Return the top-level files and folders of distributions."""
    paths = set()
    for name in names:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            if file.parts[0] not in ("..", "__pycache__"):
                paths.add(Path(str(distribution.locate_file(file.parts[0]))))
    return paths


def test_wheel_holds_what_it_ought_to(wheel: Path) -> None:
    """The wheel has the stubs, the hand-written package and the rules' descriptors, no google folder and no test."""
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hutong", "hutong_client", "hutong_texts", "buf"}
    assert "hutong/py.typed" in names
    assert "hutong_client/cli/commands/upload.py" in names
    assert "hutong_texts/locale/zh_CN/LC_MESSAGES/hutong.mo" in names
    assert any(name.endswith(".pyi") for name in names)


def test_all_of_it_imports_with_nothing_else(python: Path) -> None:
    """Every module of the wheel imports in an environment without the services and their dependencies."""
    code = (
        "import importlib, pkgutil, sys\n"
        "import hutong, hutong_client, buf\n"
        "for package in (hutong, hutong_client, buf):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "unwanted = {'services', 'sqlalchemy', 'stdnum', 'orjson'} & set(sys.modules)\n"
        "assert not unwanted, unwanted\n"
        "print(hutong_client.__file__)\n"
    )
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(CLIENT) not in done.stdout


def test_command_runs_with_nothing_else(python: Path) -> None:
    """The command prints its version, and reports UNAVAILABLE if no service answers."""
    done = subprocess.run(
        [python, "-I", "-m", "hutong_client", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    arguments = ["lab", "list", "--results", "127.0.0.1:1"]
    done = subprocess.run(
        [python, "-I", "-m", "hutong_client", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith("hutong: UNAVAILABLE")


def test_command_knows_the_rules_of_the_contract(python: Path, tmp_path: Path) -> None:
    """The command finds faults of a policy file without any service, by the engine that the services use."""
    file = tmp_path / "policy.yaml"
    file.write_text("title: " + "x" * 201)
    done = subprocess.run(
        [python, "-I", "-m", "hutong_client", "policy", "lint", "-f", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "title: must be at most 200 characters" in done.stdout


def test_library_imports_without_the_extra(bare_python: Path) -> None:
    """The stubs and the library import without the extra. The command says what to install."""
    code = (
        "import importlib, pkgutil, sys\n"
        "import hutong, hutong_client, buf\n"
        "for package in (hutong, buf):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "for module in pkgutil.iter_modules(hutong_client.__path__, 'hutong_client.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    done = subprocess.run([bare_python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [bare_python, "-I", "-m", "hutong_client", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'hutong-client[cli]'" in done.stderr


def test_console_script_is_declared(wheel: Path) -> None:
    """The wheel declares the console script `hutong`."""
    with zipfile.ZipFile(wheel) as content:
        (entry,) = (name for name in content.namelist() if name.endswith("entry_points.txt"))
        assert "hutong = hutong_client.__main__:main" in content.read(entry).decode()
