"""Says in plain words what is wrong with TLS, because gRPC reports a TLS fault only in the text of UNAVAILABLE."""

from __future__ import annotations

from hutong_texts import english, tr

_EXPIRED = english("the server's certificate has expired")
_UNKNOWN_AUTHORITY = english("the server's certificate is not signed by a trusted authority; check the CA file")
_OTHER_NAME = english("the server's certificate is for another name than the address")
_PLAIN_TEXT = english("the server does not speak TLS at this address")
_OWN_FILES = english(
    "the TLS files of the client cannot be used: the CA file has no certificate, or the key does not belong to the "
    "certificate"
)
_OTHER = english("the TLS handshake with the server failed")
_FAULTS = (
    ("certificate has expired", _EXPIRED),
    ("CERTIFICATE_VERIFY_FAILED", _UNKNOWN_AUTHORITY),
    ("Hostname Verification Check failed", _OTHER_NAME),
    ("is not in peer certificate", _OTHER_NAME),
    ("WRONG_VERSION_NUMBER", _PLAIN_TEXT),
    ("Failed to create security handshaker", _OWN_FILES),
    ("Tls handshake failed", _OTHER),
    ("Ssl handshake failed", _OTHER),
)
"""Parts of gRPC's texts, the most precise first, and what they mean."""
_CLOSED = "Socket closed"
_CLOSED_HINT = english(
    "{text}; a server that needs TLS closes connections in plain text, and a server that needs client certificates "
    "closes those without a trusted one"
)


def describe_tls_fault(text: str) -> str:
    """Return what is wrong with TLS, followed by gRPC's text that shows it; an empty text if TLS is not at fault."""
    found = next((words for part, words in _FAULTS if part in text), None)
    return f"{tr(found)} ({text})" if found else ""


def explain_closed(text: str) -> str:
    """Return gRPC's text. If the server closed a new connection at once, add why the server may have closed it."""
    if text.startswith("failed to connect") and _CLOSED in text:
        return tr(_CLOSED_HINT, text=text)
    return text
