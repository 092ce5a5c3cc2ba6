"""Whose face is where: detectors behind one interface, identity, and an assignment that refuses to guess."""
