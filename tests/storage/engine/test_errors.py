"""An unusable database ends the command with one line and exit code 2, not with a traceback."""

from __future__ import annotations

import socketserver
import sqlite3
import struct
import threading
from pathlib import Path

import pytest

from services.__main__ import EXIT_USAGE
from services.domain.errors import Unavailable
from services.storage.migrate import upgrade
from tests.support.processes import hutongd


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("serve", "no file"),
        ("serve", "no directory"),
        ("serve", "no database"),
        ("serve", "a newer one"),
        ("migrate", "a newer one"),
    ],
)
def test_the_error_says_what_the_operator_has_to_change(command: str, what: str, tmp_path: Path) -> None:
    text, newer = tmp_path / "text", tmp_path / "newer.db"
    text.write_text("no database " * 100)
    connection = sqlite3.connect(newer)
    connection.execute("CREATE TABLE alembic_version_policy (version_num VARCHAR(32) NOT NULL)")
    connection.execute("INSERT INTO alembic_version_policy VALUES ('9999')")
    connection.commit()
    connection.close()
    urls = {
        "no file": "sqlite://",
        "no directory": f"sqlite:///{text}/policy.db",
        "no database": f"sqlite:///{text}",
        "a newer one": f"sqlite:///{newer}",
    }
    settings = {"data_dir": str(tmp_path), "policy_database_url": urls[what], "policy_address": "127.0.0.1:0"}
    ended = hutongd(command, "policy", **settings)
    said = ended.stderr.splitlines()[-1]
    assert ended.returncode == EXIT_USAGE, ended.stderr
    assert said.startswith("hutongd: ")
    assert "database" in said.lower()


REFUSED = b'SFATAL\0C28P01\0Mpassword authentication failed for user "hutong"\0\0'


class RefusesPasswords(socketserver.StreamRequestHandler):
    """Answers as PostgreSQL does to a role with a wrong password, without TLS."""

    def handle(self) -> None:
        while header := self.rfile.read(8):
            length, code = struct.unpack("!II", header)
            self.rfile.read(length - 8)
            if code >> 16 == 1234:  # a request for encryption
                self.wfile.write(b"N")
            else:
                self.wfile.write(b"E" + struct.pack("!I", len(REFUSED) + 4) + REFUSED)
                return


def test_a_refused_password_is_told_from_a_server_that_is_away() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), RefusesPasswords) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(
                Unavailable, match="correct the role or the password in HUTONG_POLICY_DATABASE_URL or in"
            ):
                upgrade("policy", f"postgresql://hutong:x@127.0.0.1:{server.server_address[1]}/policy")
        finally:
            server.shutdown()
