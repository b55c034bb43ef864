"""How the schema of a database fits this version.

Statements are adapted to the schema of the previous release (`older`). Indexes of large tables are built while the
services go on (`online_indexes`).
"""
