"""The lower end of a link: a node sends changes and look-ups to the node above, and applies notifications."""
