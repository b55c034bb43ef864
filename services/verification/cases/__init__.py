"""Cases of evidence that officers examine (docs/decision.md §21)."""
