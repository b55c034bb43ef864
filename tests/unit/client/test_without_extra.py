"""The library without the extra `cli`: none of the command's packages is there."""

from __future__ import annotations

import subprocess
import sys

from tests.support.client.fake_uploads import FakeUploads, serving
from tests.support.processes import run as run_command

REFUSE = """\
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        extra = {"click", "olefile", "openpyxl", "protovalidate", "python_calamine", "rich", "yaml"}
        if name.partition(".")[0] in extra:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Refuse())
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code where the extra's packages cannot be imported."""
    command = [sys.executable, "-c", REFUSE + code, *arguments]
    return run_command(command)


def test_library_connects_and_calls() -> None:
    """The library can be imported, a stub gets its answer, and a failure is an error of the library."""
    code = (
        "from hutong.results.v1.upload_service_pb2 import GetUploadRequest\n"
        "from hutong_client import NotFound, UploadSession, connect\n"
        "with connect(results=sys.argv[1]) as node:\n"
        "    assert UploadSession(node.uploads, 'labs/x', 'u1').get() is None\n"
        "    try:\n"
        "        node.uploads.GetUpload(GetUploadRequest(name='labs/x/uploads/u1'), timeout=30)\n"
        "    except NotFound as error:\n"
        "        print(error.reason)\n"
    )
    with serving(FakeUploads()) as address:
        done = run(code, address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "NOT_FOUND\n", "")


def test_command_says_in_one_line_what_to_install() -> None:
    """No traceback, and the exit code of wrong usage."""
    done = run("from hutong_client.__main__ import main\nmain()\n", "lab", "list")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("hutong: ")
    assert "pip install 'hutong-client[cli]'" in line
