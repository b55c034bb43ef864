"""Stores keep a mark of their pepper and rule of document classes, and are not served under others."""

from __future__ import annotations

import pytest
from sqlalchemy import Table, insert, text

from services.domain.subject import Pepper
from services.results.records.tables import pepper_marks as marks_of_results
from services.runtime.configuration.variables import BadSetting
from services.storage.engine import open_database
from services.storage.errors import UnusableDatabase
from services.storage.migrate import downgrade, upgrade
from services.storage.pepper_marks import UNMARKED, checking_pepper, older_marks
from services.verification.stored_decisions.tables import pepper_marks as marks_of_verification
from tests.support.databases import MakeUrl

PEPPER = Pepper(b"p" * 32)
MARKS = {"results": marks_of_results, "verification": marks_of_verification}


@pytest.mark.parametrize(("service", "marks"), MARKS.items())
async def test_a_store_takes_the_first_mark_and_refuses_another_pepper(
    service: str, marks: Table, database_url: MakeUrl
) -> None:
    """The first check marks the store; after it the same pepper passes and another does not."""
    database = open_database(database_url(service))
    for _ in range(2):
        await checking_pepper(database, marks, PEPPER)()
    with pytest.raises(BadSetting, match="HUTONG_PEPPER_FILE"):
        await checking_pepper(database, marks, Pepper(b"q" * 32))()
    database.close()


@pytest.mark.parametrize("mark", [*older_marks(PEPPER), UNMARKED])
@pytest.mark.parametrize(("service", "marks"), MARKS.items())
async def test_a_store_of_older_rules_is_refused_in_one_line(
    service: str, marks: Table, mark: bytes, database_url: MakeUrl
) -> None:
    """The line says what to do: the keys cannot be made anew."""
    database = open_database(database_url(service))
    with database.engine.begin() as connection:
        connection.execute(insert(marks).values(key_version=1, mark=mark))
    with pytest.raises(UnusableDatabase, match="start with a new database and let the laboratories upload again") as it:
        await checking_pepper(database, marks, PEPPER)()
    assert "\n" not in str(it.value)
    database.close()


@pytest.mark.parametrize("is_filled", [True, False])
async def test_a_store_of_verification_from_before_marks_is_known_by_its_tags(
    is_filled: bool, database_url: MakeUrl
) -> None:
    """A store with tagged decisions is of the first rule. An empty store goes on."""
    url = database_url("verification")
    downgrade("verification", url, "0004")
    database = open_database(url)
    if is_filled:
        decision = text("INSERT INTO decisions VALUES ('u', 1, :blob, :blob, :blob, 1)")
        with database.engine.begin() as connection:
            connection.execute(decision, {"blob": b"k" * 16})
    upgrade("verification", url)
    check = checking_pepper(database, marks_of_verification, PEPPER)
    if is_filled:
        with pytest.raises(UnusableDatabase, match="older rule"):
            await check()
    else:
        await check()
    database.close()


OLD, NEW = Pepper(b"o" * 32), Pepper(b"n" * 32, 2)
FIRST, SECOND = Pepper(OLD.secret, 1, NEW), Pepper(NEW.secret, 2, OLD)


@pytest.mark.parametrize(("service", "marks"), MARKS.items())
async def test_a_store_is_served_with_the_peppers_of_all_its_versions(
    service: str, marks: Table, database_url: MakeUrl
) -> None:
    """A change can be given up until a process writes the new version. From then on both are needed."""
    database = open_database(database_url(service))
    for pepper in (OLD, FIRST, OLD, FIRST, SECOND, FIRST, SECOND):
        await checking_pepper(database, marks, pepper)()
    for pepper, missing in ((OLD, 2), (NEW, 1)):
        with pytest.raises(BadSetting, match=f"rows under version {missing} of the pepper") as caught:
            await checking_pepper(database, marks, pepper)()
        assert "\n" not in str(caught.value)
    with pytest.raises(BadSetting, match="version 1 of the pepper is not the one"):
        await checking_pepper(database, marks, Pepper(NEW.secret, 2, Pepper(b"x" * 32)))()
    database.close()


async def test_a_store_that_begins_during_a_change_is_served_with_both(database_url: MakeUrl) -> None:
    """Other nodes send it rows of both versions."""
    database = open_database(database_url("results"))
    await checking_pepper(database, marks_of_results, SECOND)()
    with pytest.raises(BadSetting, match="rows under version 1"):
        await checking_pepper(database, marks_of_results, NEW)()
    database.close()
