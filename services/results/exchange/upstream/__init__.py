"""This node as the lower end of a link: it sends changes to the node above, asks it, and applies its notifications."""
