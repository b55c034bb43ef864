"""Reports that were shown before their laboratories denied them (docs/decision.md §21)."""
