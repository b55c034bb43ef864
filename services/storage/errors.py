"""The error for a database that a retry cannot help."""

from __future__ import annotations

from hutong_texts import Text


class UnusableDatabase(ValueError):
    """A file or URL that is no usable database, or a database of a newer version. Only the operator can change that."""

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text
