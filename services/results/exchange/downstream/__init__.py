"""The upper end of a link: a node receives changes of the nodes below, answers them and notifies them."""
