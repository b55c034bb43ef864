"""Build HTML from elements, so that no text reaches a page unescaped."""

from __future__ import annotations

from html import escape


class Html(str):
    """Text that is HTML already. Any other text is escaped when it is put into an element."""

    __slots__ = ()


Attribute = str | int | float | None
"""An attribute's value; None leaves the attribute out."""

_VOID = frozenset({"br", "circle", "line", "meta", "rect"})
"""The elements without content that pages use."""


def tag(element: str, *content: str, **attributes: Attribute) -> Html:
    """Return an element. `class_` is its class; an underscore inside an attribute's name is written as a hyphen."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{written}>" if element in {"br", "meta"} else f"<{element}{written}/>")
    return Html(f"<{element}{written}>{join(content)}</{element}>")


def join(content: tuple[str, ...] | list[str]) -> Html:
    """Concatenate pieces, and escape those that are not HTML."""
    return Html("".join(piece if isinstance(piece, Html) else escape(piece) for piece in content))
