"""Scripts in and out: who says what, in the formats that studios and peers write."""
