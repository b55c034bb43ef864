"""ghz measures a real node by reflection alone, with the data files of clients/examples/ghz."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hutong.results.v1.results_service_pb2 import ListResultsRequest
from hutong_client import connect

from clients.examples.node import Node
from clients.examples.story import LABS
from tests.support.processes import run
from tests.support.waiting import TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
FILES = {"upload-results": "results", "list-labs": "results", "verify": "verification"}
"""The service of each file, in an order in which uploads come first."""
GHZ = shutil.which("ghz") or shutil.which("ghz", path=str(ROOT / ".tools"))


@pytest.mark.parametrize("name", FILES)
def test_ghz_gets_answers(name: str, node: Node) -> None:
    """Every call is answered with OK."""
    if GHZ is None:
        assert not os.environ.get("CI"), "ghz is not built"
        pytest.skip("ghz is not built: `make .tools/ghz` builds it, with Go")
    file = ROOT / "clients" / "examples" / "ghz" / f"{name}.json"
    done = run([GHZ, "--config", str(file), "-O", "json", node.addresses[FILES[name]]], timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["statusCodeDistribution"] == {"OK": json.loads(file.read_text("utf-8"))["total"]}, found
    if name == "upload-results":
        with connect(environment=node.environment) as connection:
            request = ListResultsRequest(lab=LABS[0].name, page_size=500)
            listed = connection.results.ListResults(request, timeout=TIMEOUT_SECONDS).test_results
        assert len([each for each in listed if each.report_number.startswith("GH-")]) == found["count"]


def test_every_file_is_run() -> None:
    """The folder has no other file."""
    assert {path.stem for path in (ROOT / "clients" / "examples" / "ghz").glob("*.json")} == set(FILES)
