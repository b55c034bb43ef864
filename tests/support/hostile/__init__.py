"""Hostile clients: requests that are made at random from the contract, and frames that no client may send."""
