"""Resumable runs on disk: the lock, the journal, the results of a long evaluation."""
