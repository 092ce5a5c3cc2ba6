"""The plan: what will be rendered, why it is cut so, and under which keys. Pure: no I/O, no orchestrator, no torch."""
