"""The deny-list: certificates and callers that are refused before their certificates expire."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hutong_texts import english

from services.runtime.configuration.open_files import require_own_rules
from services.runtime.configuration.unreadable import unreadable
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.access.names import parse_caller, parse_spiffe_id

_SERIAL = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){0,19}|[0-9A-Fa-f]{1,40}")
"""A serial number in hexadecimal, as openssl prints it, with or without colons. It has at most 20 bytes (RFC 5280)."""


@dataclass(frozen=True, slots=True)
class DenyList:
    """What HUTONG_DENY_FILE lists.

    Attributes:
        serials: serial numbers of certificates. It does not matter which authority signed them.
        names: names of callers, such as "gates/410100/7". It does not matter which certificate or token they show.
    """

    serials: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()


def read_deny_list(path: Path, trust_domain: str) -> DenyList:
    """Return the deny-list in a file. A line has one serial number in hexadecimal or one SPIFFE ID; # begins a comment.

    Raises:
        BadSetting: the file cannot be read, every user of the machine can change it, or a line is wrong. A wrong line
            is not skipped, because it may stand for a caller that must be denied.
    """
    require_own_rules("HUTONG_DENY_FILE", path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadSetting(english("{name} {fault}", name="HUTONG_DENY_FILE", fault=unreadable(path, error))) from None
    except UnicodeDecodeError:
        raise BadSetting(english("HUTONG_DENY_FILE is not a text in UTF-8: save it in UTF-8")) from None
    serials, names = set(), set()
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        if entry.startswith("spiffe://"):
            name = parse_spiffe_id(entry, trust_domain)
            if parse_caller(name) is None:
                raise BadSetting(
                    english(
                        "HUTONG_DENY_FILE, line {number}: names no caller under spiffe://{trust_domain}/",
                        number=number,
                        trust_domain=trust_domain,
                    )
                )
            names.add(name)
        elif _SERIAL.fullmatch(entry):
            serials.add(int(entry.replace(":", ""), 16))
        else:
            raise BadSetting(
                english(
                    "HUTONG_DENY_FILE, line {number}: must be a serial number in hexadecimal or a SPIFFE ID",
                    number=number,
                )
            )
    return DenyList(frozenset(serials), frozenset(names))
