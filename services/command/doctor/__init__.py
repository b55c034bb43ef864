"""`hutongd doctor`: finds out what is wrong with this node, and says what to do."""
