"""Access: who calls, and whether the contract permits the call."""
