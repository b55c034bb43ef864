"""Bring the catalogue up to date with the source, compile it, and list texts without Chinese (`make texts`)."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from hutong_texts.catalogue import CHINESE, DOMAIN, LOCALE

from clients.texts.extract import build_template

SOURCE = LOCALE / CHINESE / "LC_MESSAGES" / f"{DOMAIN}.po"
"""The catalogue as people edit it."""
COMPILED = SOURCE.with_suffix(".mo")
"""The catalogue as programs read it. This file is committed, so that a clone or a wheel needs no tool to compile it."""
_HEADER = "# Chinese of every text for people. `make texts` adds texts and removes those that are gone."


_DATE = datetime(2022, 7, 29, tzinfo=UTC)
"""The date in the header of the compiled catalogue. It is always the same, so that equal texts give equal files."""
_CHANGING = tuple(
    f'"{entry}'
    for entry in (
        "POT-Creation-Date",
        "PO-Revision-Date",
        "Generated-By",
        "Last-Translator",
        "Report-Msgid-Bugs-To",
        "Language-Team",
    )
)
"""Header entries that change with the day or the tool. Nothing reads them."""


def read_catalogue(path: Path = SOURCE) -> Catalog:
    """Return the committed catalogue."""
    with path.open("rb") as file:
        return read_po(file, locale=CHINESE)


def update(catalogue: Catalog) -> Catalog:
    """Return the catalogue with the texts of the source.

    New texts have no Chinese, and texts that are gone are left out.
    """
    fresh = build_template()
    fresh.locale = CHINESE
    fresh.header_comment = _HEADER
    for message in fresh:
        known = catalogue.get(message.id, message.context) if message.id else None
        if known is not None and isinstance(known.string, tuple) == isinstance(message.id, tuple):
            message.string = known.string
    return fresh


def encode(catalogue: Catalog) -> tuple[bytes, bytes]:
    """Return both files of a catalogue, the one that people edit and the compiled one. Equal texts give equal files."""
    edited, compiled = io.BytesIO(), io.BytesIO()
    write_po(edited, catalogue, width=120, omit_header=False, sort_by_file=False, include_lineno=False)
    lines = edited.getvalue().decode().splitlines(keepends=True)
    plain = "".join(line for line in lines if not line.startswith(_CHANGING)).encode()
    read = read_po(io.BytesIO(plain), locale=CHINESE)
    read.creation_date = read.revision_date = _DATE
    write_mo(compiled, read)
    return plain, compiled.getvalue()


def main() -> int:
    """Write both files. Return 1 if a text has no Chinese."""
    catalogue = update(read_catalogue() if SOURCE.exists() else Catalog(locale=CHINESE))
    SOURCE.parent.mkdir(parents=True, exist_ok=True)
    edited, compiled = encode(catalogue)
    SOURCE.write_bytes(edited)
    COMPILED.write_bytes(compiled)
    missing = [message for message in catalogue if message.id and not all(message.string or ("",))]
    for message in missing:
        print(f"no Chinese: {message.id!r} ({message.locations[0][0]})")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
