"""Which picture size the network works at: the release's rules, integers only. Sides in pixels, multiples of 64."""

LONG_SIDES = {704: 1216, 512: 768, 384: 576, 256: 384}  # image size -> long side of its largest area
STEP = 64


def work_size(width: int, height: int, image_size: int = 704) -> tuple[int, int]:
    """Return (width, height) that a picture is resized to, squeezed if need be: 1280 x 720 becomes 1216 x 704.

    The shorter side becomes `image_size`; a picture whose area is then too large is scaled again from its own size. The
    result is not checked again: its area may exceed the limit by up to 7.7 %, as in the release.
    Raises: ValueError for an empty picture, or one so long that a side would vanish.
    """
    if min(width, height, image_size) < 1:
        raise ValueError(f"picture of {width} x {height} at image size {image_size}: every side must be at least 1")
    area = image_size * LONG_SIDES.get(image_size, image_size * 1.5)
    scale = image_size / min(width, height)
    sides = _rounded(width, scale), _rounded(height, scale)
    if sides[0] * sides[1] > area:
        scale = (area / (width * height)) ** 0.5
        sides = _rounded(width, scale), _rounded(height, scale)
    if min(sides) == 0:
        raise ValueError(f"picture of {width} x {height} is too long: a side would round to 0 pixels; crop it")
    return sides


def _rounded(side: int, scale: float) -> int:
    return round(side * scale / STEP) * STEP  # Python rounds halves to even, and so does the release


def latent_size(width: int, height: int) -> tuple[int, int]:
    """Return (width, height) in latent cells of 8 x 8 pixels.

    Raises: ValueError when a side is not a multiple of 16 pixels, which is one token.
    """
    if width % 16 or height % 16 or min(width, height) < 16:
        raise ValueError(f"size {width} x {height}: both sides must be positive multiples of 16 pixels")
    return width // 8, height // 8
