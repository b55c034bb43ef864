"""HTML put together from elements, so that nothing reaches a page unescaped."""

from __future__ import annotations

from html import escape


class Html(str):
    """Text that is HTML already. Any other text is escaped where it enters an element."""

    __slots__ = ()


Attribute = str | int | float | None
"""An attribute's value; None leaves the attribute out."""

_VOID = frozenset({"br", "circle", "line", "meta", "rect"})
"""Elements without content, of those that pages use."""


def tag(element: str, *content: str, **attributes: Attribute) -> Html:
    """An element. `class_` is its class, and an underscore inside an attribute's name is written as a hyphen."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{written}>" if element in {"br", "meta"} else f"<{element}{written}/>")
    return Html(f"<{element}{written}>{join(content)}</{element}>")


def join(content: tuple[str, ...] | list[str]) -> Html:
    """Pieces one after another, those that are not HTML escaped."""
    return Html("".join(piece if isinstance(piece, Html) else escape(piece) for piece in content))
