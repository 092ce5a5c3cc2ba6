"""A picture's size in latent cells."""


def latent_size(width: int, height: int) -> tuple[int, int]:
    """Return (width, height) in latent cells of 8 x 8 pixels.

    Raises: ValueError when a side is not a multiple of 16 pixels, which is one token.
    """
    if width % 16 or height % 16 or min(width, height) < 16:
        raise ValueError(f"size {width} x {height}: both sides must be positive multiples of 16 pixels")
    return width // 8, height // 8
