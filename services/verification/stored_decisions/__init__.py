"""Decisions that are kept: their table, their subject tags and their store."""
