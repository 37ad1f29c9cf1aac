"""Synchronisation of the cameras, by its pure class: no graph, a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from rsd_ros.camera_sync import PATIENCE, ApproximateSynchronizer, DeadlineSynchronizer
from rsd_ros.conversions import ns_to_stamp

MS = 1_000_000  # ns
PERIOD = 100 * MS


def synchronizer(cameras: int = 3, deadline: float = 0.05) -> DeadlineSynchronizer:
    return DeadlineSynchronizer(cameras, deadline=deadline, tolerance=0.045)


def feed(sync: DeadlineSynchronizer, stamp: int, cameras: range | list[int], now: float) -> None:
    for camera in cameras:
        sync.add(camera, stamp, f"{camera}@{stamp}", now)


def test_a_complete_set_leaves_at_once_with_images_in_camera_order():
    sync = synchronizer()
    feed(sync, PERIOD, [2, 0], now=0.0)
    assert sync.take(0.0) is None
    feed(sync, PERIOD, [1], now=0.01)
    taken = sync.take(0.01)
    assert taken.images == (f"0@{PERIOD}", f"1@{PERIOD}", f"2@{PERIOD}")
    assert taken.valid == (True, True, True)
    assert taken.stamp == PERIOD
    assert taken.waited == pytest.approx(0.01)
    assert sync.counters.complete == 1


def test_only_a_set_that_opens_or_is_ready_is_news():
    sync = synchronizer()
    assert [sync.add(camera, PERIOD, "image", 0.0) for camera in (2, 0, 0, 1)] == [True, False, False, True]
    sync.take(0.0)
    assert not sync.add(1, PERIOD, "late", 0.01)
    for k in range(2, 2 + PATIENCE):  # camera 1 is silent until nobody waits for it
        feed(sync, k * PERIOD, [0, 2], now=0.1 * k)
        assert sync.take(0.1 * k + 0.06) is not None
    assert [sync.add(camera, 5 * PERIOD, "image", 0.5) for camera in (0, 2)] == [True, True]


def test_at_the_deadline_the_set_leaves_with_the_missing_camera_marked():
    sync = synchronizer()
    feed(sync, PERIOD, [0, 2], now=0.0)
    assert sync.next_deadline() == pytest.approx(0.05)
    assert sync.take(0.049) is None
    taken = sync.take(0.05)
    assert taken.valid == (True, False, True)
    assert taken.images[1] is None
    assert sync.counters.incomplete == 1


def test_a_camera_that_stays_away_is_no_longer_waited_for_until_it_sends_again():
    sync = synchronizer()
    for k in range(1, PATIENCE + 1):
        feed(sync, k * PERIOD, [0, 1], now=0.1 * k)
        assert sync.take(0.1 * k) is None
        assert sync.take(0.1 * k + 0.05) is not None
    k = PATIENCE + 1
    feed(sync, k * PERIOD, [0, 1], now=0.1 * k)
    assert sync.take(0.1 * k) is not None  # without waiting
    feed(sync, k * PERIOD, [2], now=0.1 * k + 0.02)  # it is back, too late for this set
    assert sync.counters.late == 1
    feed(sync, (k + 1) * PERIOD, [0, 1], now=0.1 * (k + 1))
    assert sync.take(0.1 * (k + 1)) is None  # the next set waits for it
    feed(sync, (k + 1) * PERIOD, [2], now=0.1 * (k + 1))
    assert all(sync.take(0.1 * (k + 1)).valid)


def test_after_all_cameras_were_gone_the_first_set_waits_for_each_of_them():
    sync = synchronizer()
    for k in range(1, PATIENCE + 2):
        feed(sync, k * PERIOD, [0], now=0.1 * k)
        sync.take(0.1 * k + 0.05)
    feed(sync, 50 * PERIOD, [0], now=5.0)
    assert sync.take(5.0) is None
    feed(sync, 50 * PERIOD, [1, 2], now=5.01)
    assert all(sync.take(5.01).valid)


def test_the_newest_ready_set_wins_and_the_older_ones_are_counted():
    sync = synchronizer()
    for k in (1, 2, 3):
        feed(sync, k * PERIOD, range(3), now=0.1 * k)
    assert sync.take(0.3).stamp == 3 * PERIOD
    assert sync.take(1.0) is None
    assert sync.counters.superseded == 2


def test_an_image_that_comes_twice_is_counted_and_ignored():
    sync = synchronizer()
    feed(sync, PERIOD, [0, 0, 1], now=0.0)
    assert sync.take(0.0) is None
    assert sync.counters.duplicates == 1


def test_cameras_that_fire_one_after_another_form_one_set_stamped_by_the_newest():
    offsets = [0, 8, 16, 23, 33, 43]  # ms: a nuScenes sweep
    sync = synchronizer(cameras=6)
    for sweep in (1, 2):
        for camera, offset in enumerate(offsets):
            sync.add(camera, sweep * 83 * MS + offset * MS, camera, now=0.083 * sweep)
        taken = sync.take(0.083 * sweep)
        assert all(taken.valid)
        assert taken.stamp == sweep * 83 * MS + 43 * MS


def test_a_camera_at_twice_the_rate_does_not_break_up_the_sets():
    sync = synchronizer(cameras=2)
    complete = 0
    for k in range(1, 20):
        sync.add(0, k * 33 * MS, "fast", now=0.033 * k)
        if k % 2 == 0:
            sync.add(1, k * 33 * MS, "slow", now=0.033 * k)
        taken = sync.take(0.033 * k)
        complete += taken is not None and all(taken.valid)
    assert complete >= 8


@pytest.mark.parametrize("back", [2.0, 3600.0])
def test_stamps_that_jump_back_start_afresh(back: float):
    sync = synchronizer()
    feed(sync, 5000 * PERIOD, range(3), now=0.0)
    assert sync.take(0.0) is not None
    earlier = max(5000 * PERIOD - round(back * 1e9), 0)
    feed(sync, earlier, range(3), now=0.1)
    assert sync.take(0.1).stamp == earlier
    assert sync.counters.resets == 1


events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(-20, 20), st.floats(0.0, 0.03)),
    min_size=1,
    max_size=120,
)


@settings(max_examples=200)
@given(events)
def test_whatever_comes_sets_move_forward_and_hold_each_image_once(arrivals: list[tuple[int, int, int, float]]):
    sync = DeadlineSynchronizer(4, deadline=0.05, tolerance=0.045, reset_after=1e6)
    now, last, seen = 0.0, -1, set()
    for camera, frame, jitter, pause in arrivals:
        now += pause
        stamp = (frame + 1) * PERIOD + jitter * MS
        sync.add(camera, stamp, (camera, stamp), now)
        taken = sync.take(now)
        if taken is None:
            continue
        assert taken.stamp > last
        last = taken.stamp
        stamps = [s for s in taken.stamps if s is not None]
        assert stamps
        assert max(stamps) - min(stamps) <= 2 * 45 * MS
        for index, image in enumerate(taken.images):
            if image is not None:
                assert image == (index, taken.stamps[index])
                assert image not in seen
                seen.add(image)


@settings(max_examples=100)
@given(st.permutations(list(range(6))), st.integers(1, 2**40))
def test_in_any_order_of_arrival_six_images_make_one_complete_set(order: list[int], start: int):
    sync = synchronizer(cameras=6)
    for k in range(3):
        feed(sync, start + k * PERIOD, list(order), now=0.1 * k)
        assert all(sync.take(0.1 * k).valid)
    assert sync.counters.late == sync.counters.duplicates == sync.counters.superseded == 0


def stamped(stamp: int) -> Image:
    image = Image()
    image.header.stamp = ns_to_stamp(stamp)
    return image


def test_approximate_gives_complete_sets_only_and_starts_afresh_when_time_jumps_back():
    sync = ApproximateSynchronizer(3, slop=0.045)
    for start in (50 * PERIOD, PERIOD):
        for camera in (0, 1):
            sync.add(camera, start + camera * MS, stamped(start + camera * MS), now=0.0)
        assert sync.take(10.0) is None
        sync.add(2, start, stamped(start), now=0.0)
        taken = sync.take(10.0)
        assert taken.stamps == (start, start + MS, start)
        assert sync.take(10.0) is None
    assert sync.counters.resets == 1
