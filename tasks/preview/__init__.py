"""What an episode will be, on one page, before a GPU second is spent."""

from tasks.preview.page import preview_html

__all__ = ["preview_html"]
