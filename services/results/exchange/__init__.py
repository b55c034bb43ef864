"""The exchange between nodes: a province's changes go up to the nation, and what concerns a province comes down."""
