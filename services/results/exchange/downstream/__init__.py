"""This node as the upper end of a link: it receives changes of the nodes below, answers them and notifies them."""
