"""Answers questions and publishes policies at this node: the policy book in memory, watchers and publications."""
