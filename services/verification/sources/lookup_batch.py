"""Writes look-ups into the request for one call, most of them in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest

from services.domain.subject import Pepper
from services.verification.sources.model import LookUp


class LookUpBatch(NamedTuple):
    """The request for a call.

    Attributes:
        keyed_count: how many of the look-ups are in columns.
        order: the index of each look-up in the order in which Results answers; None if that is their own order.
    """

    request: BatchLookupColumnsRequest
    keyed_count: int
    order: Sequence[int] | None


def batch_of(look_ups: Sequence[LookUp], pepper: Pepper | None, marks: Sequence[bytes]) -> LookUpBatch:
    """Return the request for several look-ups. Without a pepper no look-up is in columns.

    `marks` are the marks of the pepper.
    """
    rest: list[int] = []
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for index, one in enumerate(look_ups):
        if pepper is None or one.needs_request:
            rest.append(index)
        else:
            groups.setdefault((one.limit, tuple(one.items)), []).append(index)
    request = _in_requests([look_ups[index] for index in rest])
    if pepper is None or not groups:
        return LookUpBatch(request, 0, None)
    for (limit, items), indexes in groups.items():
        keyed = request.keyed.add(pepper_marks=marks, limit=limit, items=items)
        of_group = [look_ups[index] for index in indexes]
        keys = [one.keys(pepper) for one in of_group]
        keyed.subject_keys.extend([key for key, _ in keys])
        names = [pepper.name_hashes(one.name) if one.name else () for one in of_group]
        if any(names):
            keyed.name_hashes.extend([hashes[0] if hashes else b"" for hashes in names])
        if pepper.other is not None:
            keyed.other_subject_keys.extend([other or b"" for _, other in keys])
            keyed.other_name_hashes.extend([hashes[1] if hashes else b"" for hashes in names])
    order = [index for indexes in (*groups.values(), rest) for index in indexes]
    return LookUpBatch(request, len(look_ups) - len(rest), order if rest or len(groups) > 1 else None)


def _in_requests(look_ups: Sequence[LookUp]) -> BatchLookupColumnsRequest:
    request = BatchLookupColumnsRequest(requests=[one.to_request() for one in look_ups])
    if any(one.token_keys[0] for one in look_ups):
        request.subject_keys.extend([one.token_keys[0] for one in look_ups])
        if any(one.token_keys[1] for one in look_ups):
            request.other_subject_keys.extend([one.token_keys[1] for one in look_ups])
    presenters = [one.presenter if one.claimed_reports else "" for one in look_ups]
    if any(presenters):
        request.presenters.extend(presenters)
    return request
