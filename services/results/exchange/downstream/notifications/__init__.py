"""Notifications of the nation to its nodes: which node subscribes to which subjects, and what each node is told."""
