"""One file per revision; numbers in their order."""
