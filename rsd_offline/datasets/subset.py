"""The beginning of a dataset."""

from __future__ import annotations

from rsd_offline.datasets.frames import FrameSource, KeyFrame


class FirstFrames:
    """The first `count` frames of a source."""

    def __init__(self, source: FrameSource, count: int) -> None:
        self._source, self._count = source, min(count, len(source))
        self.name = source.name  # more frames of it may be labelled into the same store later

    def __len__(self) -> int:
        return self._count

    def frame_id(self, index: int) -> str:
        """As in the source."""
        return self._source.frame_id(index)

    def frame(self, index: int) -> KeyFrame:
        """As in the source."""
        return self._source.frame(index)
