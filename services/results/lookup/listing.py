"""ListResults: pages of a laboratory's or a subject's results."""

from __future__ import annotations

import asyncio

from hutong.results.v1.results_service_pb2 import ListResultsRequest, ListResultsResponse

from services.domain.instant import Instant, optional_timestamp
from services.domain.names import parse_items, parse_lab
from services.domain.subject import Pepper
from services.results.fields import document_from_proto, open_interval
from services.results.lookup.convert import listing_to_proto
from services.results.lookup.model import Listing, ResultQuery
from services.results.lookup.store import LookupStore
from services.results.records.model import ACTIVE, RECALLED
from services.runtime.page_tokens import PageTokens, page_size, rows_to_read

_LAB_POSITION = (str, int)
_SUBJECT_POSITION = (int, str, str, int)


async def list_results(
    store: LookupStore, pepper: Pepper, tokens: PageTokens, request: ListResultsRequest, now: Instant
) -> ListResultsResponse:
    """Return one page of results: a laboratory's in order of report number, a subject's newest report first."""
    start, end = open_interval(request.report_interval)
    items = parse_items(request.items, "items")
    query = ResultQuery(tuple(request.outcomes), tuple(request.states) or (ACTIVE, RECALLED), start, end, items)
    token = ""
    if request.HasField("lab"):
        number, revision = tokens.position(request, _LAB_POSITION) or ("", 0)
        size, lab = page_size(request.page_size), parse_lab(request.lab, "lab")
        listing = await store.list_by_lab(lab, query, (number, revision), size, now)
        shown = listing.results
        if listing.next_position is not None:
            token = tokens.issue(request, listing.next_position)
    else:
        position = tokens.position(request, _SUBJECT_POSITION)
        keys = pepper.subject_keys(document_from_proto(request.document))
        after = (position[0], position[1], position[2], position[3]) if position else None
        listing = await store.list_by_subject(keys, query, after, rows_to_read(request.page_size), now)
        shown, token = tokens.page(
            request, listing.results, lambda it: [it.reference_time, it.lab, it.report_number, it.revision]
        )
    return ListResultsResponse(
        # A thread makes the messages. The messages of a page of 500 results would hold up the event loop, and with it
        # every other call.
        test_results=await asyncio.to_thread(listing_to_proto, Listing(shown, listing.standing_at)),
        next_page_token=token,
        retention_start_time=optional_timestamp(listing.horizon),
    )
