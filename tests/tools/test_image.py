"""The steps of deploy/image/Containerfile, played without a container engine.

Every RUN of the build stage runs as it stands, with other folders and the installed Python in place of the image's. The
packages come from the index, as in the build of an image. The result then runs as another user, who cannot change it.
What a container engine alone can show is not tried: the base image, its users, capabilities and the read-only root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_address
from tests.support.processes import environment, run, started
from tests.support.waiting import wait_until

if not os.environ.get("HUTONG_CHECK_TOOLS", ""):
    pytest.skip("make check-tools runs these tests", allow_module_level=True)
ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "deploy/image/Containerfile").read_text(encoding="utf-8")
INSTALL_SECONDS = 900.0
"""How long the installation from the index may take, in seconds. It downloads every package."""
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
"""A Python that every user can run, unlike one in a home folder. It must be one of those that the lock is for."""
AS_OTHER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """The root of the image: what its steps leave."""
    with tempfile.TemporaryDirectory(prefix="hutong-image-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        build, _, _ = CONTAINERFILE.partition("\nFROM ${PYTHON}\n")
        source = folder / "src"
        source.mkdir()
        for line in re.findall(r"^(?:COPY|RUN) .+$", build, re.MULTILINE):
            verb, _, rest = line.partition(" ")
            if verb == "COPY":
                *copied, target = rest.split()
                for one in copied:
                    to = source / target / Path(one).name if target.endswith("/") else source / target
                    to.parent.mkdir(parents=True, exist_ok=True)
                    if (ROOT / one).is_dir():
                        shutil.copytree(ROOT / one, to, ignore=shutil.ignore_patterns("__pycache__"))
                    else:
                        shutil.copyfile(ROOT / one, to)
                continue
            step = rest.replace("/opt/", f"{folder}/opt/").replace("${COMMIT}", "c0ffee")
            step = re.sub(r"^python ", f"{PYTHON} ", step)
            variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
            done = run(["sh", "-ec", step], cwd=source, env=variables, timeout=INSTALL_SECONDS)
            assert done.returncode == 0, f"{step}\n{done.stderr}"
        yield folder


def test_the_image_runs_as_another_user(root: Path) -> None:
    """The image knows its commit and serves all three services. Its own health command finds it healthy."""
    with tempfile.TemporaryDirectory(prefix="hutong-data-") as data:
        if AS_OTHER:
            os.chown(data, 65534, 65534)
        variables = environment(
            data_dir=data,
            metrics_address=free_address(),
            **{f"{service}_address": free_address() for service in ("results", "policy", "verification")},
        )
        variables = {key: value for key, value in variables.items() if key != "PYTHONPATH"}
        variables |= {
            "PATH": f"{root}/opt/hutong/bin:{variables['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": data,
        }
        done = run([*AS_OTHER, "hutongd", "--version"], env=variables, cwd=Path(data))
        assert (done.returncode, "(commit c0ffee)" in done.stdout) == (0, True), done.stderr
        assert run([*AS_OTHER, "hutong-health"], env=variables, cwd=Path(data)).returncode == 1
        with started([*AS_OTHER, "hutongd", "serve", "all"], env=variables, cwd=data):
            wait_until(lambda: run([*AS_OTHER, "hutong-health"], env=variables, cwd=Path(data)).returncode == 0)
            said = run([*AS_OTHER, "hutong-health"], env=variables, cwd=Path(data)).stdout
        assert {name: one["serving"] for name, one in json.loads(said).items()} == {
            "results": True,
            "policy": True,
            "verification": True,
        }
