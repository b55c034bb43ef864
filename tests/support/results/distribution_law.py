"""Checks statements of Results against the distribution plan (services/results/distribution.py).

Every statement that the services execute in a test's process is checked once, on SQLite and on PostgreSQL. Citus is not
needed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, Table, event
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ColumnElement, Grouping, Tuple
from sqlalchemy.sql.selectable import Alias, AliasedReturnsRows, FromClause, Join, Select, SelectBase

from services.results.distribution import PLAN, SWEEPS, Shards, Whole

ROOT = Path(__file__).parents[3]
Node = tuple[int, str]
"""A column of one occurrence of a table, or of a subquery, in a statement."""

_seen: dict[str, str] = {}
"""The fault of each statement that was executed; empty for a lawful one."""
_faults: list[str] = []
"""The faults since they were last taken."""
MIXES = "joins"
"""How the fault of a statement begins that Citus refuses, also in a sweep."""
_PASSING = {"services.results.records.queries.hold_keys"}
"""Functions that execute the statements of their callers."""
_OTHER = re.compile(r"\s*(CREATE|ALTER|DROP|LOCK|PRAGMA|SET|SHOW|BEGIN|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:FROM|INTO|JOIN|UPDATE|COPY)\s+([a-z_]+)", re.IGNORECASE)


def watch_statements() -> None:
    """Check every statement from now on."""
    event.listen(Engine, "before_cursor_execute", _check)


def take_faults() -> list[str]:
    """Return the faults since the last call."""
    faults = list(_faults)
    _faults.clear()
    return faults


def find_fault(statement: Any) -> str:
    """Return how a statement breaks the law of the plan; empty if it does not."""
    if isinstance(statement, str):
        return _find_text_fault(statement)
    if not isinstance(statement, Select | Insert | Update | Delete | SelectBase):
        return ""
    if isinstance(statement, Update):
        kept = PLAN.get(getattr(statement.table, "name", ""))
        changed = {getattr(column, "key", column) for column in statement._values or {}}  # noqa: SLF001
        if isinstance(kept, Shards) and kept.column in changed:
            return f"changes {kept.column}, by which {statement.table} is cut"
    return _Reader(statement).find_fault()


def _check(_connection: Any, _cursor: Any, text: str, _parameters: Any, context: Any, _many: bool) -> None:
    fault = _seen.get(text)
    if fault is None:
        compiled = getattr(context, "compiled", None)
        fault = _seen[text] = find_fault(text if compiled is None else compiled.statement)
    if fault:
        caller = _find_caller()
        if caller and (caller not in SWEEPS or fault.startswith(MIXES)):
            _faults.append(f"{caller}: {fault}: {' '.join(text.split())}")


def _find_caller() -> str:
    """Return the function of the services that executes the statement; empty if a test does."""
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOT}/tests/"):
            if "/tests/support/results/distribution_law" not in file:
                return ""
        elif (
            file.startswith(f"{ROOT}/services/")
            and "/services/storage/" not in file
            and not frame.f_code.co_name.startswith("<")
        ):
            module = file.removeprefix(f"{ROOT}/").removesuffix(".py").replace("/", ".")
            name = f"{module}.{frame.f_code.co_name}"
            if name not in _PASSING:
                return name
        elif file.startswith(f"{ROOT}/migrations/"):
            return ""
        frame = frame.f_back
    return ""


def _find_text_fault(text: str) -> str:
    if _OTHER.match(text):
        return ""
    named = {name: kept for name in _NAMED.findall(text) if (kept := PLAN.get(name)) is not None}
    cut = {name: kept for name, kept in named.items() if isinstance(kept, Shards)}
    if fault := _find_mixture(named.values()):
        return fault
    for name, kept in cut.items():
        is_insert = re.match(rf"\s*(INSERT INTO|COPY) {name} *\([^)]*\b{kept.column}\b", text)
        if not is_insert and not re.search(rf"\b{kept.column}\b\s*(=|IN\b)", text):
            return f"does not give {name}.{kept.column}"
    return ""


def _find_mixture(kept: Iterable[Shards | Whole]) -> str:
    kinds = list(kept)
    groups = {one.group.name for one in kinds if isinstance(one, Shards)}
    if len(groups) > 1:
        return f"{MIXES} the groups {', '.join(sorted(groups))}"
    if groups and Whole.LOCAL in kinds:
        return f"{MIXES} a distributed table with a local one"
    return ""


class _Reader:
    """Finds which columns of a statement are given, by themselves or by joins."""

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._parents: dict[Node, Node] = {}
        self._given: set[Node] = set()
        self._tables: dict[int, tuple[str, FromClause]] = {}
        for part in visitors.iterate(statement):
            if isinstance(part, Select):
                for one in part.get_final_froms():
                    self._add_from(one)
                self._add_conditions([] if part.whereclause is None else [part.whereclause])
            elif isinstance(part, Alias | AliasedReturnsRows) and isinstance(part.element, SelectBase):
                self._join_subquery(part)
        if isinstance(statement, Update | Delete):
            self._add_from(statement.table)
            self._add_conditions([] if statement.whereclause is None else [statement.whereclause])
        if isinstance(statement, Insert) and statement.select is not None:
            # The table may also be the one that is read, so it gets an occurrence of its own.
            self._tables[0] = (str(statement.table), statement.table)
            source: Any = statement.select
            for name, column in zip(statement._select_names or (), source.selected_columns, strict=True):  # noqa: SLF001
                self._union((0, name), column)

    def find_fault(self) -> str:
        kept = {name: PLAN[name] for name, _ in self._tables.values() if name in PLAN}
        if fault := _find_mixture(kept.values()):
            return fault
        given = {self._root(node) for node in self._given}
        for occurrence, (name, _) in self._tables.items():
            cut = kept.get(name)
            if isinstance(cut, Shards) and self._root((occurrence, cut.column)) not in given:
                return f"does not give {name}.{cut.column}"
        return ""

    def _add_from(self, one: FromClause) -> None:
        if isinstance(one, Join):
            self._add_from(one.left)
            self._add_from(one.right)
            self._add_conditions([one.onclause] if one.onclause is not None else [])
        elif isinstance(one, Table):
            self._tables[id(one)] = (one.name, one)
        elif isinstance(one, Alias) and isinstance(one.element, Table):
            self._tables[id(one)] = (one.element.name, one)

    def _join_subquery(self, one: Any) -> None:
        for column in one.element.selected_columns:
            if isinstance(column, Column) or hasattr(column, "table"):
                self._union((id(one), column.key), column)

    def _add_conditions(self, conditions: Iterable[Any]) -> None:
        for one in _conjuncts(conditions):
            if not isinstance(one, BinaryExpression):
                continue
            if one.operator not in (operators.eq, operators.in_op):
                continue
            sides = zip(_columns(one.left), _columns(one.right, len(_columns(one.left))), strict=False)
            for left, right in sides:
                self._equate(left, right)

    def _equate(self, left: Any, right: Any) -> None:
        first, second = self._node(left), self._node(right)
        if first and second:
            self._union(first, right)
        elif first:
            self._given.add(first)
        elif second:
            self._given.add(second)

    def _node(self, column: Any) -> Node | None:
        table = getattr(column, "table", None)
        return None if table is None else (id(table), column.key)

    def _union(self, node: Node | None, column: Any) -> None:
        other = self._node(column)
        if node is None:
            return
        if other is None:
            self._given.add(node)
        elif self._root(node) != self._root(other):
            self._parents[self._root(node)] = self._root(other)

    def _root(self, node: Node) -> Node:
        while node in self._parents:
            node = self._parents[node]
        return node


def _conjuncts(conditions: Iterable[Any]) -> Iterator[Any]:
    for one in conditions:
        inner = one.element if isinstance(one, Grouping) else one
        if isinstance(inner, BooleanClauseList) and inner.operator is operators.and_:
            yield from _conjuncts(inner.clauses)
        else:
            yield inner


def _columns(side: Any, width: int = 1) -> list[Any]:
    """Return the columns of one side of a comparison: those of a tuple or of a subquery, else the side itself."""
    if isinstance(side, Grouping):
        side = side.element
    if isinstance(side, Tuple):
        return list(side.clauses)
    select = side if isinstance(side, Select) else getattr(side, "element", None)
    if isinstance(select, Select):
        return list(select.selected_columns)
    return [side] * max(width, 1) if not isinstance(side, ColumnElement) or width > 1 else [side]
