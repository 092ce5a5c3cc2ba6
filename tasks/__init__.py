"""The verbs: one file, one verb; effects at the edge, pure functions inside."""
