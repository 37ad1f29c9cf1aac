import numpy as np
import pytest

from rsd_model.geometry import bench2drive_rig
from rsd_offline.datasets.episode_store import (
    DriveFrame,
    Episode,
    EpisodeError,
    decode_image,
    encode_images,
    find_episodes,
    write_episode,
)

RIG = bench2drive_rig(64, 36)


def drive_frame(index: int, objects: int) -> DriveFrame:
    rng = np.random.default_rng(index)
    images = [np.full((36, 64, 3), 10 * index + camera, np.uint8) for camera in range(6)]
    return DriveFrame(
        stamp=0.5 * index, images=encode_images(images), pose=np.eye(4), velocity=np.array([index, 0.0, 0.0]),
        acceleration=np.zeros(3), yaw_rate=0.1, since_standstill=2.0 * index,
        command=3, route=rng.normal(size=(5 + index, 2)), plan=rng.normal(size=(6, 2)),
        boxes=rng.normal(size=(objects, 7)), velocities=np.zeros((objects, 2)), labels=np.zeros(objects, int),
        ids=np.arange(objects) + 1, pixels=np.full(objects, 9),
        map_points=np.zeros((2, 10, 2)), map_labels=np.array([0, 3]),
    )  # fmt: skip


def test_an_episode_reads_back_as_it_was_written(tmp_path):
    frames = [drive_frame(i, objects) for i, objects in enumerate((3, 0, 2))]
    write_episode(tmp_path / "a", frames, RIG, {"town": "alder"})
    episode = Episode(tmp_path / "a")
    assert len(episode) == 3 and episode.about["town"] == "alder" and episode.rig.names == RIG.names
    for index, frame in enumerate(frames):
        read = episode.frame(index)
        assert read.images == frame.images
        for key in ("route", "plan", "boxes", "ids", "map_points", "velocity", "since_standstill"):
            np.testing.assert_array_equal(getattr(read, key), getattr(frame, key))
        assert abs(int(decode_image(read.images[4]).mean()) - (10 * index + 4)) <= 1


def test_a_half_written_episode_is_not_found_and_a_truncated_one_says_so(tmp_path):
    (tmp_path / ".b.partial").mkdir()
    (tmp_path / ".b.partial" / "episode.json").write_text("{}")
    write_episode(tmp_path / "a", [drive_frame(0, 1)], RIG, {})
    assert find_episodes(tmp_path) == [tmp_path / "a"]
    images = tmp_path / "a" / "images.bin"
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(EpisodeError, match="ends before frame 0"):
        Episode(tmp_path / "a").frame(0)
    (tmp_path / "a" / "frames.npz").write_bytes(b"no zip")
    with pytest.raises(EpisodeError, match="not a readable episode"):
        Episode(tmp_path / "a")
