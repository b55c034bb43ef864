"""Pending changes: one caller proposes each of them, and another approves it."""
