"""WatchResults: the change log as a stream."""
