"""The normal form of names.

Printed names count as the same if their normal forms are equal, and otherwise as different.
"""

from __future__ import annotations

import unicodedata

VERSION = 1
"""The version of the rule. Stores keep normal forms, so a change of the rule needs a migration."""
MAX_LENGTH = 200
"""The most characters of a normal form. Longer forms are cut, so that databases can index them."""
_SAME = str.maketrans(dict.fromkeys("\u2010\u2012\u2013\u2014\u2015\u2212", "-") | dict.fromkeys("•‧∙⋅・", "·"))
"""Hyphens and middle dots that printers use in place of one another. NFKC itself replaces other such characters."""
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of spaces and of characters that are not visible."""


def normal_form(name: str) -> str:
    """Return the normal form of a name; empty if the name has no visible character.

    Full-width letters and digits become ASCII. Case and spaces do not matter. All hyphens become one hyphen, and all
    middle dots become one dot.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(_SAME)
    visible = "".join(it for it in folded if unicodedata.category(it) not in _INVISIBLE)
    # A space may have separated a letter from an accent. After the space is removed, NFC makes one character of both.
    return unicodedata.normalize("NFC", visible)[:MAX_LENGTH]
