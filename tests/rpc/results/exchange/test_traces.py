"""A batch of the exchange is one trace at both nodes."""

from __future__ import annotations

from pathlib import Path

from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, open_country
from tests.support.results.factories import make_tube
from tests.support.traces import recording
from tests.support.waiting import until


async def test_batch_is_one_trace_at_both_nodes(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    with recording() as spans:
        async with open_country(tmp_path, sqlite_url) as country:
            henan = await country.join(HENAN)
            await henan.node.register()
            await henan.node.upload([make_tube(1)])
            await until(lambda: bool(country.nation.results()))
            await until(lambda: any(span.name == "apply batch" for span in spans.get_finished_spans()))
            await until(lambda: any(span.name == "replicate batch" for span in spans.get_finished_spans()))
        found = spans.get_finished_spans()
    sent = {span.context.span_id: span for span in found if span.name == "replicate batch" and span.context}
    applied = [span for span in found if span.name == "apply batch"]
    assert sent
    assert applied
    for span in applied:
        assert span.parent is not None
        assert span.parent.span_id in sent
        assert span.attributes == {"hutong.sender": HENAN}
