"""The policies of the nodes below. Their streams are received here, and their revisions checked and stored."""
