"""The rules of policies: resolution, the guards of publication, its impact. Pure."""
