"""The exchange between nodes: a province sends its changes to the nation and receives notifications from it."""
