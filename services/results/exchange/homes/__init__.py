"""The homes of laboratories: where they are stored, and which changes a node may state because of them."""
