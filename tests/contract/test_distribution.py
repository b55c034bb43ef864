"""The distribution plan of Results: it covers every table, its keys hold, and its law finds what breaks it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from sqlalchemy import Index, UniqueConstraint, and_, delete, func, insert, or_, select, tuple_, update

from services.results.changelog.tables import changes
from services.results.distribution import PLAN, SWEEPS, Shards
from services.results.labs.tables import labs
from services.results.lookup.subjects import CITUS, CITUS_ONE, SQLITE
from services.results.records.bulk import CitusBulk, PostgresqlBulk
from services.results.records.tables import deletions, report_keys, results, revision_reasons
from services.results.tables import metadata
from services.results.upload.tables import uploads
from tests.support.results.distribution_law import find_fault

BY_LAB = report_keys.c.lab == "L"
OF_REPORT = and_(BY_LAB, report_keys.c.report_number == "1")
JOIN = results.c.subject_key == report_keys.c.subject_key


def test_every_table_has_its_place() -> None:
    assert PLAN.keys() == metadata.tables.keys()


@pytest.mark.parametrize("name", [name for name, kept in PLAN.items() if isinstance(kept, Shards)])
def test_every_unique_key_holds_the_column(name: str) -> None:
    """Citus can only enforce such keys. The column is never NULL."""
    kept, table = PLAN[name], metadata.tables[name]
    assert isinstance(kept, Shards)
    assert not table.c[kept.column].nullable
    unique: list[Any] = [table.primary_key] if table.primary_key.columns else []
    unique += [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    unique += [one for one in table.indexes if isinstance(one, Index) and one.unique]
    for key in unique:
        assert kept.column in key.columns
    # Tables that are cut alike may be joined by the column, so it has one type in the whole group.
    types = {str(metadata.tables[one].c[it.column].type) for one, it in PLAN.items() if it == kept}
    assert len(types) == 1, types


def test_sweeps_are_functions() -> None:
    for name in SWEEPS:
        module, _, function = name.rpartition(".")
        loaded = importlib.import_module(module)
        classes = [one for one in vars(loaded).values() if isinstance(one, type) and one.__module__ == module]
        assert any(function in vars(one) for one in (loaded, *classes)), name


@pytest.mark.parametrize(
    "statement",
    [
        select(results).where(results.c.subject_key == b"k"),
        select(results).where(results.c.subject_key.in_([b"k", b"l"]), or_(results.c.state == 1, results.c.item == "")),
        select(report_keys).where(tuple_(report_keys.c.lab, report_keys.c.report_number).in_([("L", "1")])),
        select(report_keys, labs).join(labs, labs.c.uscc == report_keys.c.lab).where(OF_REPORT),
        select(changes, labs),
        delete(revision_reasons).where(revision_reasons.c.report_number == report_keys.c.report_number, OF_REPORT),
        insert(revision_reasons).from_select(
            ["lab", "report_number", "revision"],
            select(report_keys.c.lab, report_keys.c.report_number, report_keys.c.revision).where(OF_REPORT),
        ),
        update(uploads).where(uploads.c.lab == "L").values(update_time=1),
        select(select(results).where(results.c.subject_key == b"k").subquery()),
        CITUS,
        CITUS_ONE,
        SQLITE,
    ],
)
def test_lawful_statements(statement: Any) -> None:
    assert find_fault(statement) == ""


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (select(results), "does not give results.subject_key"),
        (select(results).where(results.c.lab == "L"), "does not give results.subject_key"),
        (select(results).where(or_(results.c.subject_key == b"k", results.c.lab == "L")), "does not give"),
        (select(results).where(results.c.subject_key > b"k"), "does not give results.subject_key"),
        (select(report_keys).where(BY_LAB), "does not give report_keys.report_number"),
        (select(results).join(report_keys, JOIN).where(OF_REPORT), "joins the groups REPORT, SUBJECT"),
        (select(results).where(select(report_keys).where(JOIN, OF_REPORT).exists()), "joins the groups"),
        (
            select(uploads, select(func.max(deletions.c.horizon)).scalar_subquery()).where(uploads.c.lab == "L"),
            "joins a distributed table with a local one",
        ),
        (delete(uploads).where(uploads.c.upload_id == "u"), "does not give uploads.lab"),
        (update(results).where(results.c.subject_key == b"k").values(subject_key=b"l"), "changes subject_key"),
        (insert(results).from_select(["lab"], select(labs.c.uscc)), "does not give results.subject_key"),
        ("SELECT 1 FROM results WHERE lab = %s", "does not give results.subject_key"),
        ("SELECT 1 FROM report_keys JOIN results USING (lab, subject_key, report_number)", "joins the groups"),
    ],
)
def test_unlawful_statements(statement: Any, fault: str) -> None:
    assert find_fault(statement).startswith(fault)


def test_citus_claims_without_copy() -> None:
    """Citus cannot tell a duplicate key in COPY."""
    assert CitusBulk.insert_keys is not PostgresqlBulk.insert_keys
    assert CitusBulk.insert_results is PostgresqlBulk.insert_results
