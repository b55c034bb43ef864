"""Every text that the contract allows is stored as it was sent, by COPY and by parameters."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.results.factories import make_tube
from tests.support.results.store import Laboratory

_runs = itertools.count()

characters = st.characters(exclude_categories=["Cs"])
rows = st.tuples(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" /@"), min_size=1, max_size=40),
    st.text(characters, max_size=200),
    st.text(characters, max_size=128),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=20))
async def test_any_text_that_passes_the_rules_is_stored_as_it_was(
    laboratory: Laboratory, texts: list[tuple[str, str, str, str]]
) -> None:
    """Texts include backslashes, quotes, emoji and COPY's own marks. Control characters are rejected by item."""
    run = f"{next(_runs)}:"
    marks = ("\\.", "\\N", "\\. \\N \\t\\\\ \"'\x85\u2028", "\\.")
    tubes = []
    for index, (code, number, site, name) in enumerate([*texts, marks]):
        tube = make_tube(index, site=site)
        tube.tube_code = code
        tube.persons[0].report_number = f"{run}{index}:{number}"
        tube.persons[0].document.name = name
        tubes.append(tube)
    acknowledgement = await laboratory.send(tubes, upload_id=run[:-1])
    rejected = {rejection.tube_index for rejection in acknowledgement.rejections}
    assert rejected == {
        index
        for index, tube in enumerate(tubes)
        if any(
            character < " " or character == "\x7f"
            for person in tube.persons
            for character in tube.tube_code + tube.sample_site + person.report_number + person.document.name
        )
    }
    stored = [
        row for row in await laboratory.rows("report_number", "tube_code", "sample_site") if row[0].startswith(run)
    ]
    assert sorted(stored) == sorted(
        (tube.persons[0].report_number, tube.tube_code, tube.sample_site)
        for index, tube in enumerate(tubes)
        if index not in rejected
    )
