"""The sentences: only @flow functions live here."""
