"""This node as the upper end of a link: what it takes from the nodes below, answers and tells them."""
