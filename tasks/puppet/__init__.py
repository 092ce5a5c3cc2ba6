"""The small trained network: its drawn world, its training and its measures."""
