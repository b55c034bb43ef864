"""Notifications to the nodes below: which node subscribes to which subjects, and of what each node is notified."""
