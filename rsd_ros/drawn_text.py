"""Text in pictures, in the typeface that comes with matplotlib: OpenCV's stroke fonts are hard to read when small."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]  # BGR

WHITE: Color = (240, 240, 240)
RIM = 2  # px of dark edge, so that text reads on any picture


@lru_cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@lru_cache(maxsize=2048)
def _masks(text: str, size: int, bold: bool) -> tuple[np.ndarray, np.ndarray]:
    """Opacity (h, w, 1) in [0, 1] of the letters and of their rim."""
    font = _font(size, bold)
    width = int(font.getlength(text)) + 2 * RIM + 2
    shape = (width, sum(font.getmetrics()) + 2 * RIM)
    masks = []
    for rim in (0, RIM):
        canvas = Image.new("L", shape)
        ImageDraw.Draw(canvas).text((RIM, RIM), text, 255, font, stroke_width=rim, stroke_fill=255)
        masks.append(np.asarray(canvas, np.float32)[..., None] / 255.0)
    return masks[0], masks[1]


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Pixels that the text takes."""
    return int(_font(size, bold).getlength(text))


def put_text(
    image: np.ndarray, text: str, at: tuple[int, int], size: int = 12, color: Color = WHITE, bold: bool = False
) -> None:
    """Write into (H, W, 3) BGR, in place; `at` is the upper left corner in px, what lies outside is cut off."""
    letters, rim = _masks(text, size, bold)
    x, y = at[0] - RIM, at[1] - RIM
    top, left = max(-y, 0), max(-x, 0)
    bottom, right = min(letters.shape[0], image.shape[0] - y), min(letters.shape[1], image.shape[1] - x)
    if top >= bottom or left >= right:
        return
    area = image[y + top : y + bottom, x + left : x + right]
    letters, rim = letters[top:bottom, left:right], rim[top:bottom, left:right]
    area[:] = (area * (1.0 - 0.75 * rim) * (1.0 - letters) + np.array(color) * letters).astype(np.uint8)


class Labels:
    """Texts put into one (H, W, 3) BGR image, the most important first: one that would cover another is left out."""

    def __init__(self, image: np.ndarray) -> None:
        self._image = image
        self._taken: list[tuple[int, int, int, int]] = []

    def put(self, text: str, at: tuple[int, int], size: int, color: Color) -> bool:
        """As `put_text`; whether there was room for it."""
        x, y, right, bottom = at[0], at[1], at[0] + text_width(text, size), at[1] + size
        if any(x < r and left < right and y < b and top < bottom for left, top, r, b in self._taken):
            return False
        self._taken.append((x, y, right, bottom))
        put_text(self._image, text, at, size, color)
        return True


def shortened(text: str, size: int, width: int) -> str:
    """The text cut to `width` px, with an ellipsis where it was cut."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"
