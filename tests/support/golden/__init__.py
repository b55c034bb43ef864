"""Golden decisions: stored inputs with the decisions that were made of them, compared at every change of the rules."""
