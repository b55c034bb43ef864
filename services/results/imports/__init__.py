"""Copies of other nodes' results in this node's store, made by ImportResults."""
