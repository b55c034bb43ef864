"""The normal form of persons' names. Two printed names are of one person if their normal forms are equal.

The form ignores what printers and clerks add or leave out: width, case, spaces, middle dots and other punctuation, and
the glyph of a character. Names that are only similar differ, and so do a simplified and a traditional character.
"""

from __future__ import annotations

import re
import unicodedata

VERSION = 1
"""The version of the rule. Every hash of a name begins with the version. Only hashes of the same version are compared.
"""

_PLAIN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
"""Matches names of Chinese characters alone. Their normal form differs from them only in the glyphs of `_VARIANTS`."""
_ASCII_LEFT_OUT = re.compile("[^0-9a-z$]")
"""Finds the characters of lower-case ASCII text that `_LEFT_OUT` leaves out."""
_LEFT_OUT = frozenset({"Cc", "Cf", "Cs", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sk", "Sm", "Zl", "Zp", "Zs"})
"""Unicode categories of spaces, of punctuation and of characters that are not visible."""
_MASK = re.compile("[*\uff0a]")
"""Matches an asterisk. A name with an asterisk is a mask and cannot be compared."""
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Matches variation selectors, which choose a glyph of the character before them."""
_GLYPHS = {
    "户": "戶戸",
    "黄": "黃",
    "吕": "呂",
    "吴": "吳呉",
    "俞": "兪",
    "真": "眞",
    "青": "靑",
    "清": "淸",
    "温": "溫",
    "郎": "郞",
    "教": "敎",
    "即": "卽",
    "既": "旣",
    "内": "內",
    "册": "冊",
    "并": "幷",
    "值": "値",
    "卫": "衞",
    "彦": "彥",
    "强": "強",
    "每": "毎",
    "查": "査",
    "晚": "晩",
    "妍": "姸",
    "瑶": "瑤",
    "遥": "遙",
    "峰": "峯",
    "群": "羣",
    "净": "淨",
    "尚": "尙",
    "富": "冨",
}
"""For each character of names in this table: its other glyphs, which Unicode encodes as separate characters."""
_PRIVATE = {
    0x51: "\U00020087",
    0x52: "\U00020089",
    0x53: "\U000200cc",
    0x59: "\u9fb4",
    0x61: "\u9fb5",
    0x66: "\u9fb6",
    0x67: "\u9fb7",
    0x6C: "\U000215d7",
    0x6D: "\u9fb8",
    0x76: "\U0002298f",
    0x7E: "\u9fb9",
    0x90: "\u9fba",
    0x91: "\U000241fe",
    0xA0: "\u9fbb",
}
"""The characters of GBK 0xFE51 to 0xFEA0 that GB 18030-2000 left in the private use area, by their second byte."""


def _private_use() -> dict[str, str]:
    """Return private code points of older systems, with the characters of GBK 0xFE50 to 0xFEA0 that they stand for."""
    seconds = [byte for byte in range(0x50, 0xA1) if byte != 0x7F]
    return {
        chr(0xE815 + index): _PRIVATE.get(second) or bytes((0xFE, second)).decode("gb18030")
        for index, second in enumerate(seconds)
    }


_VARIANTS = str.maketrans({glyph: one for one, glyphs in _GLYPHS.items() for glyph in glyphs} | _private_use())
_VARIANT = re.compile(f"[{''.join(map(chr, _VARIANTS))}]")


def is_own_form(name: str) -> bool:
    """Whether a name has only Chinese characters that are their own normal form. Nearly all names are such names."""
    return _PLAIN.fullmatch(name) is not None and _VARIANT.search(name) is None


def person_name_form(name: str) -> str:
    """Return the normal form of a person's name; empty if the name has no letter, or if the name is a mask."""
    if _PLAIN.fullmatch(name):
        return name.translate(_VARIANTS) if _VARIANT.search(name) else name
    if _MASK.search(name):
        return ""
    if name.isascii():
        return _ASCII_LEFT_OUT.sub("", name.lower())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    bare = _SELECTORS.sub("", folded).translate(_VARIANTS)
    kept = "".join(it for it in bare if unicodedata.category(it) not in _LEFT_OUT)
    # A space may have separated a letter from an accent. After the space is removed, NFC makes one character of both.
    return unicodedata.normalize("NFC", kept)


def has_person_name_form(name: str) -> bool:
    """Whether the normal form of a name is not empty. For most names this is known without making the form."""
    return _PLAIN.fullmatch(name) is not None or person_name_form(name) != ""
