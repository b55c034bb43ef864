"""Pending changes. One caller proposes a change, and another caller approves it."""
