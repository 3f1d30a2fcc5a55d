"""Requests and responses as HTTP has them, for scripts that want more than JSON."""
