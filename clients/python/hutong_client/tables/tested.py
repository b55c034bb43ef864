"""Describe the test of a row: its item, specimen and method, and what is wrong with them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from hutong_client.tables import values
from hutong_client.tables.faults import BadCell, Fault
from hutong_client.tables.items import DEFAULT, check_specimen, read_item
from hutong_client.tables.pools.sizes import is_pool_word
from hutong_client.tables.rows import Cell


class Test(NamedTuple):
    """What the cells of a row say of its test."""

    item: str
    specimen: values.Specimen
    method: values.Method
    faults: tuple[Fault, ...]


@lru_cache(maxsize=1024)
def describe_test(project: Cell | None, method: Cell | None, specimen: Cell | None, admitted: frozenset[str]) -> Test:
    """Return what three cells say of a test. Cached, because a file repeats few of them very often."""
    faults: list[Fault] = []
    item = DEFAULT
    if project is not None or method is not None:
        try:
            item = read_item(project, method, admitted)
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
