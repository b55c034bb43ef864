"""Conversion of listings to messages."""

from __future__ import annotations

from hutong.results.v1 import result_pb2

from services.results.lookup.model import Listing
from services.results.records.convert import result_to_proto


def listing_to_proto(listing: Listing) -> list[result_pb2.TestResult]:
    """Return the messages of a listing's results, each with its laboratory's standing at the reference time."""
    return [
        result_to_proto(result, listing.standing_at(result.lab, result.reference_time)) for result in listing.results
    ]
