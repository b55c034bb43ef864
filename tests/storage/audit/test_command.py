"""Tests of `hutongd audit`: what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, select, update

from services.audit.keys import AuditKeys
from services.audit.sealer import Sealer
from services.audit.trail import Trail
from services.command.audit import WHO_READ, read_logged_head, verify_audit, who_read
from services.command.parser import head_option
from services.domain.document import canonical_document
from services.domain.subject import Pepper
from services.runtime.audit import AuditKind, CallAudit, Subject
from services.runtime.caller import Caller
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.storage.engine import Database, open_database
from services.verification.schema import audit as tables
from tests.support.databases import MakeUrl
from tests.support.processes import hutongd

NUMBER = "410105186001010019"
ZEROS = "00" * 32
PEPPER = Pepper(b"p" * 32)
KEYS = AuditKeys.of_secret(PEPPER.secret, "verification")


@pytest.fixture
def variables(tmp_path: Path, sqlite_url: MakeUrl) -> dict[str, str]:
    """Settings under which the command finds the database of Verification and no other."""
    pepper = tmp_path / "pepper"
    pepper.write_bytes(PEPPER.secret)
    url = sqlite_url("verification")
    return {"data_dir": str(tmp_path), "pepper_file": str(pepper), "verification_database_url": url}


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    return Settings.from_environment({f"HUTONG_{name.upper()}": value for name, value in variables.items()})


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = open_database(settings.verification.database_url)
    yield opened
    opened.close()


async def record(database: Database, reads: int) -> None:
    clock = SystemClock()
    trail = Trail(database, tables, KEYS, "410000", clock)
    call = CallAudit(trail, "s/M", "id", Caller("gate", "gates/410100/7", "410100"), "", lambda: [Subject()])
    key = PEPPER.subject_key(canonical_document(1, NUMBER, ""))
    await trail.record([call.event(AuditKind.READ, Subject("", key)) for _ in range(reads)])
    await trail.record([call.event(AuditKind.READ, Subject(), count=9)])
    await Sealer(database, tables, KEYS, clock).seal()


async def test_the_command_prints_and_finds(database: Database, settings: Settings, variables: dict[str, str]) -> None:
    """Services without a database here are left out. What is printed is one JSON object a line."""
    await record(database, 2)
    done = hutongd("audit", "verify", **variables)
    assert (done.returncode, done.stdout) == (0, "verification: 3 rows under 1 seals\n")
    done = hutongd("audit", "export", "--since", "7d", **variables)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"] for row in rows] == ["auditEvents/1-1", "auditEvents/1-2", "auditEvents/1-3"]
    assert {row["caller"] for row in rows} == {"gates/410100/7"}
    done = hutongd("audit", "verify", "--head", f"verification:1:1:{ZEROS}", **variables)
    assert (done.returncode, "another head in the log" in done.stdout) == (1, True)
    done = hutongd("audit", "verify", "--upstream", **variables)
    assert (done.returncode, "HUTONG_UPSTREAM is not set" in done.stderr) == (2, True)
    done = hutongd("audit", "who-read", "--number", NUMBER, **variables)
    *found, bulk = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == rows[:2]
    assert (bulk["bulk"], bulk["reads"], bulk["items"]) == (True, 1, 9)


async def test_a_search_is_a_read_of_the_person(database: Database, settings: Settings) -> None:
    """The next search finds it, and so does the check, which covers it."""
    await record(database, 2)
    found = []
    for _ in range(2):
        output = io.StringIO()
        who_read(settings, ["verification"], (1, NUMBER, ""), SystemClock().now(), output)
        found.append([line for line in map(json.loads, output.getvalue().splitlines()) if "bulk" not in line])
    (search,) = [line for line in found[1] if line not in found[0]]
    assert (search["method"], search["role"], search["item_count"]) == (WHO_READ, "local", 2)
    assert search["caller"].startswith("local:")
    await Sealer(database, tables, KEYS, SystemClock()).seal()
    lines, is_well = verify_audit(settings, ["verification"])
    assert (lines[0], is_well) == ("verification: 5 rows under 3 seals", True)


async def test_the_check_fails_with_a_fault(database: Database, settings: Settings) -> None:
    await record(database, 1)
    changed = func.replace(tables.packs.c.events, "gates/410100/7", "gates/410100/8")
    database.write_now(lambda it: it.execute(update(tables.packs).values(events=changed)))
    lines, is_well = verify_audit(settings, ["verification"])
    assert "verification: changed: one of rows 1-1 to 1-2" in lines
    assert not is_well


async def test_the_check_compares_heads_of_the_log(database: Database, settings: Settings) -> None:
    """The end of a chain is cut off with all that points to it. Only the log shows that."""
    await record(database, 1)
    writer = database.read_now(lambda it: it.execute(select(tables.writers)).one())
    await record(database, 1)
    seals = database.read_now(lambda it: it.execute(select(tables.seals).order_by(tables.seals.c.number)).all())
    logged = [read_logged_head(f"verification:{seal.chain}:{seal.number}:{seal.head.hex()}") for seal in seals]
    assert len(logged) == 2
    assert verify_audit(settings, ["verification"], logged)[1]
    other = read_logged_head(f"verification:1:1:{ZEROS}")
    lines, _ = verify_audit(settings, ["verification"], [other])
    assert "verification: changed: seal 1 of READS, which has another head in the log" in lines

    def cut_off(connection: Connection) -> None:
        connection.execute(delete(tables.seals).where(tables.seals.c.number > 1))
        connection.execute(update(tables.writers).values(writer._asdict()))
        connection.execute(delete(tables.packs).where(tables.packs.c.sequence > writer.newest_sequence))

    database.write_now(cut_off)
    assert verify_audit(settings, ["verification"])[1]
    lines, is_well = verify_audit(settings, ["verification"], logged)
    assert (lines[1:], is_well) == (["verification: missing: seal 2 of READS, whose head is in the log"], False)


@pytest.mark.parametrize("text", ["", "policy:1:1", f"other:1:1:{ZEROS}", f"policy:3:1:{ZEROS}", "policy:1:1:ab"])
def test_a_head_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="SERVICE:CHAIN:NUMBER:HEAD"):
        head_option(text)
