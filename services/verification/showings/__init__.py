"""Remembers for whom a report was first shown as evidence, and flags what does not fit (docs/decision.md §20)."""
