"""Policy files as an authority writes them."""

from __future__ import annotations

from pathlib import Path

SAMPLES = Path(__file__).parents[3] / "clients/examples/policies"

GOOD = """\
name: jurisdictions/410100/policies/venue
title: 郑州 venues
purposes: [PURPOSE_PUBLIC_VENUE]
test_required:
  window: {duration: 172800s, basis: VALIDITY_BASIS_REPORT_TIME}
effective_start_time: 2022-08-05T00:00:00+08:00
retroactive_reason: a sample
"""

ITEMS = """\
  accepted:
    - item: items/sars-cov-2-nucleic-acid
    - item: items/sars-cov-2-antigen
      window: {duration: 86400s, basis: VALIDITY_BASIS_REPORT_TIME}
  adverse_items: [items/sars-cov-2-nucleic-acid, items/sars-cov-2-antigen]
  adverse_window: 864000s
"""
