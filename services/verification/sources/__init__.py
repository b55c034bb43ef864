"""The sources of a decision: clients of Results and Policy."""
