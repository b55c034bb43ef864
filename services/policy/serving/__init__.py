"""Answers questions from the policy book in memory, serves watchers, and publishes policies at this node."""
