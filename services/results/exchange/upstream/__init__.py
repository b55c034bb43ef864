"""This node as the lower end of a link: what it sends to the node above, asks of it and is told by it."""
