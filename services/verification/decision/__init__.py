"""The decision: pure rules over records, evidence and a policy."""
