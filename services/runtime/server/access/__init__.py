"""Access: the identity of the caller, and whether the contract permits the call."""
