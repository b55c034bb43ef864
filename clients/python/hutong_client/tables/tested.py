"""Describe the test of a row: its item, specimen and method, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from hutong_texts import english

from hutong_client.tables import values
from hutong_client.tables.faults import BadCell, Fault
from hutong_client.tables.items import DEFAULT, DEFAULT_NAME, check_specimen, names_test, read_item
from hutong_client.tables.named_tests import name_tests
from hutong_client.tables.pools.sizes import is_pool_word
from hutong_client.tables.rows import Cell


class Test(NamedTuple):
    """What the cells of a row say of its test."""

    item: str
    specimen: values.Specimen
    method: values.Method
    faults: tuple[Fault, ...]


_ELSEWHERE = english(
    "the title, the sheet's or the file's name, or a title of a column names another "
    "test or several; write the name of the test into check_project (检测项目) of each "
    "row"
)
_REMARKED = english(
    "a remark or the specimen of the row names another test; write the name of the test into check_project (检测项目)"
)


def carry_test(cells: Mapping[str, Cell], named: str) -> str:
    """Return the test that a row must name if it is sent without its file; empty if the row needs to name no test."""
    if named in {"", DEFAULT_NAME} or names_test(cells.get("check_project"), cells.get("check_method")):
        return ""
    return named


@lru_cache(maxsize=1024)
def describe_test(
    project: Cell | None,
    method: Cell | None,
    specimen: Cell | None,
    admitted: frozenset[str],
    named: str = "",
    remark: Cell = "",
) -> Test:
    """Return what the cells of a row say of its test. Cached, because the same cells recur very often in a file.

    Args:
        project: the name of the test.
        method: how it was examined.
        specimen: what was taken.
        admitted: the items that the upload admits beside the default one.
        named: the test that the file names for rows that name no test.
        remark: the text of further cells that name a test.
    """
    faults: list[Fault] = []
    item = DEFAULT
    try:
        if project is not None or method is not None:
            item = read_item(project, method, admitted)
        if item == DEFAULT and (named or remark or specimen is not None) and not names_test(project, method):
            item = _read_named(named, f"{remark} {specimen or ''}", admitted)
    except BadCell as error:
        faults.append(Fault("check_project", error.reason, error.description))
    if specimen is not None and is_pool_word(specimen):
        specimen = None
    if specimen is not None:
        try:
            check_specimen(specimen, item)
        except BadCell as error:
            faults.append(Fault("sample_type", error.reason, error.description))
    how = values.read_method(project) or values.read_method(method)
    return Test(item, values.read_specimen(specimen), how, tuple(faults))


def _read_named(named: str, remark: str, admitted: frozenset[str]) -> str:
    """Return the item that the file names for rows that name no item; raise BadCell if a remark contradicts it."""
    item = DEFAULT
    if named:
        try:
            item = read_item(named, None, admitted)
        except BadCell as error:
            known = error.reason == "ITEM_NOT_ADMITTED"
            raise BadCell(error.description if known else _ELSEWHERE, error.reason) from None
    remarked = name_tests(remark).keys()
    if remarked <= {item or DEFAULT_NAME} or (DEFAULT_NAME in remarked and named == DEFAULT_NAME):
        return item
    raise BadCell(_REMARKED)
