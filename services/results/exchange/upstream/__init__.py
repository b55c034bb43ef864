"""This node as the lower end of a link. It sends changes and look-ups to the node above, and applies notifications."""
