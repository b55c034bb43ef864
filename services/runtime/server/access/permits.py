"""Decides whether the contract permits a call.

Pure: only the grants, the caller and the request count, and no store is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from hutong.access.v1 import access_pb2
from hutong.access.v1.access_pb2 import Access, Grant

from services.domain.region import within
from services.runtime.caller import Caller

REGION_LENGTH = 6
_JURISDICTION = re.compile(r"jurisdictions/([0-9]{6})/.+")
_STORED = re.compile(
    r"(labs/[0-9A-Z]{18}|(?:refusals|decisions|cases|pendingChanges|emergencyGrants|legalHolds)/.+)(?:/.+)?", re.DOTALL
)
"""Names of objects of which only the store knows the region or the subject. An object of a laboratory is named by the
laboratory."""
_BINDS = {
    access_pb2.BIND_ANY: "any",
    access_pb2.BIND_OWN_LAB: "own lab",
    access_pb2.BIND_OWN_REGION: "own region",
    access_pb2.BIND_OWN_USER: "own user",
    access_pb2.BIND_OWN_NODE: "own node",
}

View: TypeAlias = access_pb2.View.ValueType

KeyOf = Callable[[Any], bytes]
"""Returns the subject key of an IdentityDocument message."""


@dataclass(frozen=True, slots=True)
class Permitted:
    """The caller may make the call."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The caller's role does not permit the call."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """The object belongs to another caller. The answer says that the object does not exist."""

    name: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The request states none of the fields on which the caller's grants depend.

    Attributes:
        fields: the paths of these fields.
    """

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Only the store knows the owner of the object. Once the owner is known, `settle` decides."""

    name: str
    stored: str
    bind: int


Ruling = Permitted | Denied | Hidden | Missing | Unsettled
PERMITTED, DENIED = Permitted(), Denied()


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a stored object: its region, and a function that says whether the object is about a subject key.

    If `role` is not empty, the object exists only for callers of this role.
    """

    region: str
    is_about: Callable[[bytes], bool] = lambda _key: False
    role: str = ""


class RoleRules(NamedTuple):
    """What applies to every call of a method by callers of one role.

    Attributes:
        is_free: whether the role may make every call.
        view: the most that the role may see of the response; VIEW_UNSPECIFIED if the response has no views.
        needs_name: whether the role must state a name with a document.
        region_path: the path to the field with the region, in a request or in an item of its batch. If that region lies
            in the caller's region, the call is permitted, whatever other fields state. The path is empty if other
            fields count too.
    """

    is_free: bool
    view: View
    needs_name: bool
    region_path: tuple[str, ...]

    def permits_region(self, caller: Caller, request: Any) -> bool:
        """Return whether the region at `region_path` permits a request. If it does not, `permits` must decide.

        Most calls are questions of gates. For these, this check takes a quarter of the time of `permits`.
        """
        path = self.region_path
        if not path:
            return False
        if len(path) > 1:
            if not request.HasField(path[0]):
                return False
            request = getattr(request, path[0])
        region: str = getattr(request, path[-1])
        # Texts of other lengths are not cached, because a caller can send megabytes.
        return len(region) == REGION_LENGTH and _is_code_within(region, caller.region)


@lru_cache(maxsize=16_384)
def _is_code_within(text: str, ancestor: str) -> bool:
    """Return whether a text is six digits that name a region within another region."""
    return text.isascii() and text.isdecimal() and within(text, ancestor)


class Rules:
    """The grants of one method, read once.

    Attributes:
        needed: the grants in words, for the error of a refused call.
        free: the roles that may make every call of the method.
        roles: what applies to every call of a role; a role without a grant is absent.
        cost: what the contract says of the cost of a call.
        person: the path to the document of the person concerned, in the request or in an item of its batch; empty if no
            grant names a document.
        batch: the field that holds the items, if each item of a batch gets its own ruling; otherwise empty.
    """

    def __init__(self, access: Access) -> None:
        self.needed = "; ".join(map(_describe, access.grants)) or "nothing permits this method"
        self.free = frozenset(_role(it) for it in access.grants if not it.field and not it.needs_case)
        self.batch = next((it.field.partition("[].")[0] for it in access.grants if "[]." in it.field), "")
        self.cost = access.cost
        self.person = next(map(_path, (it.field for it in access.grants if it.field.endswith("document"))), ())
        self._grants: dict[str, list[_Bound]] = {}
        for grant in access.grants:
            self._grants.setdefault(_role(grant), []).append(_Bound(grant))
        names = {_role(it) for it in access.grants if it.needs_name}
        self.roles = {
            _role(it): RoleRules(
                _role(it) in self.free, it.view, _role(it) in names, _region_path(self._grants[_role(it)])
            )
            for it in access.grants
        }

    def of(self, role: str) -> Sequence[_Bound]:
        """Return the grants of a role."""
        return self._grants.get(role, ())

    def is_stated(self, caller: Caller, frame: Any) -> bool:
        """Return whether a later message of a stream states a field on which the caller's grants depend."""
        return any(grant.path and frame.HasField(grant.path[0]) for grant in self.of(caller.role) if grant.is_nested)


class _Bound:
    """A grant with its path split."""

    __slots__ = ("also", "bind", "is_nested", "may_omit", "missing", "needs_case", "path")

    def __init__(self, grant: Grant) -> None:
        self.bind = grant.bind
        self.path = _path(grant.field)
        self.is_nested = len(self.path) > 1
        self.also = _path(grant.also)
        self.missing = Missing((".".join(self.path),))
        self.needs_case = grant.needs_case
        self.may_omit = grant.may_omit


def _region_path(grants: Sequence[_Bound]) -> tuple[str, ...]:
    """Return the `region_path` that results from these grants of a role."""
    if len(grants) != 1:
        return ()
    (grant,) = grants
    is_plain = grant.bind == access_pb2.BIND_OWN_REGION and not grant.needs_case and len(grant.path) <= 2
    return grant.path if is_plain else ()


def permits(caller: Caller, rules: Rules, request: Any, *, case: str, node: str, key_of: KeyOf) -> Ruling:
    """Rule on a request, or on one item of a batch.

    If an optional filter is absent, it is set in the request to the caller's own laboratory or region. `node` is the
    region of this node.

    Raises:
        InvalidArgument: a document that must belong to the caller's user is not a valid document.
    """
    best: Ruling | None = None
    for grant in rules.of(caller.role):
        if grant.needs_case and not case:
            ruling: Ruling = DENIED if not grant.path or value_at(request, grant.path) else grant.missing
        else:
            ruling = _rule(caller, grant, request, node, key_of)
        if ruling is PERMITTED:
            return ruling
        best = ruling if best is None else _better(best, ruling)
    return DENIED if best is None else best


def _better(one: Ruling, other: Ruling) -> Ruling:
    """Return the ruling that counts if two grants rule differently.

    A ruling that leaves open whether the object belongs to the caller has precedence.
    """
    for kind in (Unsettled, Hidden, Denied):
        if isinstance(one, kind):
            return one
        if isinstance(other, kind):
            return other
    return Missing((*one.fields, *other.fields)) if isinstance(one, Missing) and isinstance(other, Missing) else one


def settle(caller: Caller, unsettled: Unsettled, owner: Owner) -> Ruling:
    """Rule on an object whose owner the store has returned."""
    if owner.role not in {"", caller.role}:
        return Hidden(unsettled.name)
    if unsettled.bind == access_pb2.BIND_OWN_REGION:
        owned = within(owner.region, caller.region)
    else:
        own = () if caller.user is None else (caller.user, *caller.other_documents, *caller.other_keys)
        owned = any(map(owner.is_about, own))
    if owned:
        return PERMITTED
    # The register of laboratories is public, so a caller may learn that a laboratory exists.
    return (
        DENIED if unsettled.name.startswith("labs/") and unsettled.name == unsettled.stored else Hidden(unsettled.name)
    )


def _rule(caller: Caller, grant: _Bound, request: Any, node: str, key_of: KeyOf) -> Ruling:
    if not grant.path:
        return PERMITTED if grant.bind == access_pb2.BIND_ANY else DENIED
    value = value_at(request, grant.path)
    match grant.bind:
        case access_pb2.BIND_ANY:
            return PERMITTED if value else grant.missing
        case access_pb2.BIND_OWN_LAB:
            return _rule_lab(caller, grant, request, value)
        case access_pb2.BIND_OWN_REGION:
            return _rule_region(caller, grant, request, value, node)
        case access_pb2.BIND_OWN_USER:
            return _rule_user(caller, grant, request, value, key_of)
        case access_pb2.BIND_OWN_NODE:
            if not value:
                return grant.missing
            return PERMITTED if value == caller.name else DENIED
    return DENIED


def _rule_lab(caller: Caller, grant: _Bound, request: Any, value: Any) -> Ruling:
    if grant.may_omit and (not value or not isinstance(value, str)):
        # A filter by laboratories is narrowed to the caller's own laboratory too.
        _set(request, grant.path, caller.name)
        return PERMITTED
    if not value:
        return grant.missing
    if value == caller.name or value.startswith(f"{caller.name}/"):
        return PERMITTED
    return Hidden(value) if value.count("/") > 1 else DENIED


def _rule_region(caller: Caller, grant: _Bound, request: Any, value: str, node: str) -> Ruling:
    if not value:
        if not grant.may_omit:
            return grant.missing
        if grant.path[-1].endswith("region"):
            # The node may lie in the caller's region and still keep rows of other regions. The filter is therefore
            # always set.
            _set(request, grant.path, caller.region)
            return PERMITTED
        return PERMITTED if within(node, caller.region) else DENIED
    if len(value) != REGION_LENGTH and (named := _JURISDICTION.fullmatch(value)) is not None:
        value = named[1]
    if len(value) == REGION_LENGTH and value.isascii() and value.isdecimal():
        return PERMITTED if within(value, caller.region) else DENIED
    if (stored := _STORED.fullmatch(value)) is not None:
        return Unsettled(value, stored[1], access_pb2.BIND_OWN_REGION)
    return DENIED


def _rule_user(caller: Caller, grant: _Bound, request: Any, value: Any, key_of: KeyOf) -> Ruling:
    if caller.user is None:
        return DENIED
    if not value and not grant.may_omit:
        return grant.missing
    if isinstance(value, str):
        return Unsettled(value, value, access_pb2.BIND_OWN_USER)
    if value and key_of(value) != caller.user:
        return DENIED
    also = value_at(request, grant.also) if grant.also else None
    if not also:
        return PERMITTED
    if isinstance(also, str):
        return Unsettled(also, also, access_pb2.BIND_OWN_USER)
    return PERMITTED if key_of(also) in caller.other_documents else DENIED


def value_at(message: Any, path: Sequence[str]) -> Any:
    """Return a field's value; None or an empty text if the request does not state it."""
    for name in path[:-1]:
        if not message.HasField(name):
            return None
        message = getattr(message, name)
    value = getattr(message, path[-1])
    if not isinstance(value, str) and hasattr(value, "DESCRIPTOR") and not message.HasField(path[-1]):
        return None
    return value


def _set(message: Any, path: Sequence[str], value: str) -> None:
    for name in path[:-1]:
        message = getattr(message, name)
    if message.DESCRIPTOR.fields_by_name[path[-1]].is_repeated:
        getattr(message, path[-1])[:] = [value]
    else:
        setattr(message, path[-1], value)


def _path(field: str) -> tuple[str, ...]:
    """Return the path of a field inside a request, or inside an item of a batch; empty for no field."""
    return tuple(field.rpartition("[].")[2].split(".")) if field else ()


def _role(grant: Grant) -> str:
    return access_pb2.Role.Name(grant.role).removeprefix("ROLE_").lower()


def _describe(grant: Grant) -> str:
    """Return a grant in words, such as "supervisor: own region in name, with a case"."""
    field = f" in {grant.field}" if grant.field else ""
    field += f", and in {grant.also}" if grant.also else ""
    return f"{_role(grant)}: {_BINDS.get(grant.bind, 'nothing')}{field}{', with a case' if grant.needs_case else ''}"
