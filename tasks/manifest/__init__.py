"""What a person writes: one manifest per episode, read once, checked once, every fault named at once."""
