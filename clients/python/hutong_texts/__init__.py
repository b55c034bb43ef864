"""What the services, the library and the command say to people, in English and Chinese.

The English template of a text is its key in the catalogue, `locale/zh_CN/LC_MESSAGES/hutong.po`. A text keeps its
values beside its template, so that it can still be written in another language after it was made.
"""

from __future__ import annotations

from hutong_texts.catalogue import CHINESE, ENGLISH, translate
from hutong_texts.language import current_language, list_words, speaking, tr
from hutong_texts.text import Text, english, escape_controls, join, text_of

__all__ = [
    "CHINESE",
    "ENGLISH",
    "Text",
    "current_language",
    "english",
    "escape_controls",
    "join",
    "list_words",
    "speaking",
    "text_of",
    "tr",
    "translate",
]
