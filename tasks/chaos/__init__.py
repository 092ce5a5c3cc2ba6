"""Break the farm on purpose and count what is lost: `farm chaos`."""
