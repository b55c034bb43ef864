"""Read what calamine does not report of .xls, .xlsb and .ods.

That is hidden rows, error values, leading zeros of numbers, formulas without values, and merged cells, which calamine
reports for .xls alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from hutong_client.tables.formats.marks import Marks
from hutong_client.tables.formats.ods_marks import read_ods
from hutong_client.tables.formats.xls_marks import read_xls
from hutong_client.tables.formats.xlsb_marks import read_xlsb

OLE = b"\xd0\xcf\x11\xe0"
"""First bytes of a compound file, the container of .xls and of every Excel workbook with a password."""


def read_marks(path: Path) -> Sequence[Marks] | None:
    """Return the marks of all sheets of a workbook, in their order; None if the workbook has a password.

    calamine needs memory for every cell of a sheet's used range, also for the empty ones. This function therefore runs
    before calamine and reads an archive as a stream.

    Raises:
        NotATable: the used range of a sheet is too large.
    """
    with path.open("rb") as file:
        if file.read(len(OLE)) == OLE:
            return read_xls(path)
    with ZipFile(path) as archive:
        if "content.xml" not in archive.namelist():
            return read_xlsb(archive)
        has_password = b"encryption-data" in archive.read("META-INF/manifest.xml")
        return None if has_password else read_ods(archive)
