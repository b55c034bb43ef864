"""The exchange with the node above: its policies are copied, and those of this node's region are sent to it."""
