"""Resumable runs on disk: the lock of a folder, and the store of results."""
