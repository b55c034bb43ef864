"""The replications of nodes below: their streams, groups of batches, and how far their lives have come."""
