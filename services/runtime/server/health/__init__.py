"""Health of a server (grpc.health.v1): what it says, who may ask, and how often."""
