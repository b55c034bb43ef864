"""Notifications of the nation to its nodes: who subscribes to which subjects, and what each node is told."""
