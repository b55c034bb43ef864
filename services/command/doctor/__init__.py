"""`hutongd doctor`: what is wrong with this node, and what to do."""
