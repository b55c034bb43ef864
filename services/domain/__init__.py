"""Values that all services share: instants, regions, documents, resource names and typed errors. No I/O."""
