"""Write docs/access.md, the table of who may call each RPC, from the access options of the contract.

`make protos` runs this after generating the stubs.

    python protos/access_table.py clients/hutong.binpb docs/access.md
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients/python"))

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hutong.access.v1 import access_pb2
from hutong.access.v1.access_pb2 import Access, Grant

BINDS = {
    access_pb2.BIND_ANY: "any",
    access_pb2.BIND_OWN_LAB: "own laboratory",
    access_pb2.BIND_OWN_REGION: "own region",
    access_pb2.BIND_OWN_USER: "own user",
    access_pb2.BIND_OWN_NODE: "itself",
}
HEAD = """# Who may call what

`make protos` writes this page from the option `hutong.access.v1.access` of each RPC. Roles, binds and costs are
explained in `protos/hutong/access/v1/access.proto`. A call that no line permits is refused: PERMISSION_DENIED
(NOT_PERMITTED) where the role may not do it, NOT_FOUND where the object is another's. A caller on loopback under
`HUTONG_INSECURE` may call everything. How a caller shows its role is in [tls.md](tls.md).

- *own laboratory, own region, own user, itself*: what the named field must name, seen from the caller. A region inside
  the caller's region is the caller's too. An object belongs to the region of its laboratory, decision, refusal,
  pending change or emergency grant, and a legal hold to that of the supervisor that put it.
- *and in*: a second field that must be the user's too if the request states it. The token says which documents are.
- *case*: the call must name its case as `hutong-case` in its metadata. The audit records it.
- *may be absent*: a filter is then set to the caller's own; a request without a document is about no person. A
  supervisor that names no laboratory means the whole node, which must lie in its region.
- *minimal view, full view*: the most that the caller sees of a decision, and what it sees if it states no `view`. The
  minimal view has only the fields of `Decision` with the option `minimal`. A question that asks for more is refused by
  itself, in a batch and on a stream too.
- *with the name*: the document in the question must state the name too. The operator may let callers of the role ask by
  the bare number: an entry under `grants` in the access file with `bare_number: true`
  ([operations.md](operations.md)).
- *persons*: a response may contain something about a person.

Health (`grpc.health.v1`) answers every certificate of the client authorities. Reflection answers operators.

A recall of more than 1,000 results of a laboratory a day, a supervisor's unlinking, and a floor and its withdrawal need
a second caller's approval (`hutong.approval.v1.ApprovalService`). At Results supervisors decide, at Policy the nation's
authority. Under an emergency grant, which lasts four hours at most, one of them may approve its own change.

One limit is known. A gate may not read back its own decisions, because decisions do not record the caller.
"""


def table(files: FileDescriptorSet) -> str:
    """Return the page."""
    lines = [HEAD]
    for file in files.file:
        if not file.package.startswith("hutong."):
            continue
        for service in file.service:
            lines += [
                f"## {file.package}.{service.name}",
                "",
                "| RPC | allowed | persons | cost |",
                "|---|---|---|---|",
            ]
            for method in service.method:
                access = Access.FromString(method.options.Extensions[access_pb2.access].SerializeToString())
                allowed = "<br>".join(_grants(access)) or "nobody"
                persons = "yes" if access.reads_person else ""
                cost = access_pb2.Cost.Name(access.cost).removeprefix("COST_").lower()
                lines.append(f"| {method.name} | {allowed} | {persons} | {cost} |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _grants(access: Access) -> list[str]:
    """Return a line for each grant, or one line for all roles."""
    free = {grant.role for grant in access.grants if not grant.field and not grant.needs_case}
    roles = {value for value in access_pb2.Role.values() if value}
    return ["every role"] if free == roles else [_grant(grant) for grant in access.grants]


def _grant(grant: Grant) -> str:
    role = access_pb2.Role.Name(grant.role).removeprefix("ROLE_").lower()
    field = f" in {grant.field}" if grant.field else ""
    also = f", and in {grant.also}" if grant.also else ""
    view = f", {access_pb2.View.Name(grant.view).removeprefix('VIEW_').lower()} view" if grant.view else ""
    more = f"{', may be absent' if grant.may_omit else ''}{also}{', case' if grant.needs_case else ''}{view}"
    more += ", with the name" if grant.needs_name else ""
    return f"{role}: {BINDS[grant.bind]}{field}{more}"


def main() -> None:
    """Write the page."""
    source, target = map(Path, sys.argv[1:])
    target.write_text(table(FileDescriptorSet.FromString(source.read_bytes())), encoding="utf-8")


if __name__ == "__main__":
    main()
