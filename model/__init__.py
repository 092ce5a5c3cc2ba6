"""The mathematics: plain PyTorch, no effects."""
