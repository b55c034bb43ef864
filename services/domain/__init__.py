"""The words all services share: instants, regions, documents, resource names and typed errors. Nothing here does I/O."""
