"""What the planner does when something outside is wrong, over DDS: it says so, and never plans on garbage."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from planner_bench import SECOND, SIZE, StraightRuntime, bench, length_of
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from rsd_model.geometry import bench2drive_rig
from rsd_ros.compat.messages import PlannerStatus
from rsd_ros.conversions import stamp_to_ns


def camera(status: PlannerStatus, name: str):
    return next(c for c in status.cameras if c.name == name)


def test_one_camera_stops_and_planning_goes_on_with_it_marked(ros_domain: int):
    with bench(ros_domain, sync_deadline=2.0) as b:
        b.start()
        b.vehicle.muted = {"CAM_BACK"}
        assert b.drive_until(lambda: len(b.vehicle.plans()) >= 8)
        status = b.vehicle.status()
        assert status.state == PlannerStatus.STATE_DEGRADED
        assert [c.name for c in status.cameras if not c.valid] == ["CAM_BACK"]
        assert camera(status, "CAM_BACK").drops > 0
        assert camera(status, "CAM_BACK").age > 0.3
        assert b.vehicle.plans()[-1].valid_share == pytest.approx(5.0 / 6.0)
        assert not b.vehicle.stops()
        frame = b.runtime.frames[-1]
        assert list(frame.valid) == [True, True, True, False, True, True]
        assert math.isnan(frame.stamps[3])
        assert not frame.images[3].any()
        diagnostic = b.vehicle.diagnostic()
        assert diagnostic.level == DiagnosticStatus.WARN
        assert "CAM_BACK: no image in time" in diagnostic.message

        b.vehicle.muted = set()
        b.vehicle.forget()
        assert b.drive_until(
            lambda: b.vehicle.received["status"] and b.vehicle.status().state == PlannerStatus.STATE_OK
        )


def test_all_cameras_stop_and_within_half_a_second_the_vehicle_is_brought_to_a_stop_until_they_return(ros_domain: int):
    with bench(ros_domain) as b:
        b.start()
        last_image = b.settle()
        b.vehicle.muted = set(b.vehicle.cameras)
        for _ in range(12):
            b.vehicle.tick(0.04)
        assert b.drive_until(b.vehicle.stops, seconds=0.0)  # simulation time stands still, 0.48 s after the last image
        stop = b.vehicle.stops()[0]
        assert stamp_to_ns(stop.header.stamp) - last_image <= 0.5 * SECOND
        assert "no images from CAM_FRONT, " in stop.stop_reason
        assert not stop.candidates
        # 8 m/s at 4 m/s^2: 8 m, on the straight path
        assert length_of(stop) == pytest.approx(8.0, abs=0.1)
        assert max(abs(p.position.y) for p in stop.poses) < 0.01
        assert b.spin_until(lambda: b.vehicle.level() == DiagnosticStatus.ERROR)
        assert b.spin_until(lambda: b.vehicle.status().state == PlannerStatus.STATE_STOPPING)
        b.vehicle.speed = 0.0
        assert b.drive_until(lambda: length_of(b.vehicle.stops()[-1]) == 0.0)

        b.vehicle.muted = set()
        b.vehicle.forget()
        assert b.drive_until(lambda: b.vehicle.plans() and b.vehicle.level() == DiagnosticStatus.OK)
        assert b.drive_until(lambda: all(c.valid for c in b.vehicle.status().cameras))


@pytest.mark.parametrize(
    ("width", "encoding", "sentence"),
    [
        (SIZE[0] // 2, "bgra8", "CAM_FRONT_LEFT: image is 80x90, its camera_info says 160x90"),
        (SIZE[0], "mono16", "CAM_FRONT_LEFT: image encoding 'mono16' is not supported"),
    ],
)
def test_an_image_of_another_size_or_encoding_counts_as_a_missing_camera(
    ros_domain: int, width: int, encoding: str, sentence: str
):
    def spoil(name: str, message: Image) -> None:
        if name == "CAM_FRONT_LEFT":
            message.width, message.encoding, message.step = width, encoding, 4 * width

    with bench(ros_domain) as b:
        b.start()
        b.vehicle.spoil_image = spoil
        assert b.drive_until(lambda: b.vehicle.diagnostic() and sentence in b.vehicle.diagnostic().message), b.explain()
        # The newest status may still be one from before any camera was heard.
        missing = ("CAM_FRONT_LEFT", False)
        assert b.drive_until(lambda: missing in [(c.name, c.valid) for c in b.vehicle.status().cameras]), b.explain()
        assert any(sentence in text for text in b.vehicle.status().messages)
        assert not b.vehicle.stops()


def test_too_few_usable_cameras_stop_the_vehicle(ros_domain: int):
    with bench(ros_domain, min_valid_cameras=5, sync_deadline=2.0) as b:
        b.start()
        b.vehicle.muted = {"CAM_BACK", "CAM_BACK_LEFT"}
        assert b.drive_until(b.vehicle.stops)
        assert "4 of 6 cameras are usable, 5 are needed: CAM_BACK: no image" in b.vehicle.stops()[-1].stop_reason


def test_odometry_of_nan_is_not_planned_on(ros_domain: int):
    def spoil(message) -> None:
        message.twist.twist.linear.x = math.nan

    with bench(ros_domain) as b:
        b.start()
        good = b.runtime.frames[-1].ego.speed
        b.vehicle.spoil_odometry = spoil
        assert b.drive_until(b.vehicle.stops)
        assert "odometry: velocity [nan" in b.vehicle.stops()[-1].stop_reason
        assert np.isfinite([p.position.x for p in b.vehicle.stops()[-1].poses]).all()
        assert all(frame.ego.speed == good for frame in b.runtime.frames)
        b.vehicle.spoil_odometry = lambda message: None
        b.vehicle.forget()
        assert b.drive_until(lambda: b.vehicle.plans() and b.vehicle.status().state == PlannerStatus.STATE_OK)


def test_odometry_that_falls_silent_stops_the_vehicle(ros_domain: int):
    with bench(ros_domain) as b:
        b.start()
        b.vehicle.spoil_odometry = lambda message: setattr(message.header.stamp, "sec", 1)
        assert b.drive_until(b.vehicle.stops)
        assert "odometry" in b.vehicle.stops()[-1].stop_reason


def test_a_camera_info_of_289307_px_is_refused_before_anything_is_planned(ros_domain: int):
    def spoil(name: str, info: CameraInfo) -> None:
        if name == "CAM_FRONT":
            info.k[0] = info.k[4] = 289307.0

    with bench(ros_domain) as b:
        b.connect()
        b.vehicle.spoil_info = spoil
        b.vehicle.send_mounts()
        b.vehicle.send_route()
        assert b.drive_until(lambda: b.vehicle.diagnostic() and "fx 289307 px" in b.vehicle.diagnostic().message)
        assert b.vehicle.level() == DiagnosticStatus.ERROR
        assert not b.vehicle.plans()
        assert not b.runtime.frames
        b.vehicle.spoil_info = lambda name, info: None
        b.vehicle.forget()
        assert b.drive_until(b.vehicle.plans)
        # A nonsense one that comes later does not replace the good one, but is told of.
        b.vehicle.spoil_info = spoil
        b.vehicle.forget()
        assert b.drive_until(lambda: any("289307" in text for s in b.vehicle.received["status"] for text in s.messages))
        assert not b.vehicle.stops()
        np.testing.assert_allclose(b.runtime.frames[-1].rig.intrinsics, bench2drive_rig(*SIZE).intrinsics)


def test_a_mount_that_tf_learns_late_is_waited_for_and_never_taken_as_zero(ros_domain: int):
    with bench(ros_domain) as b:
        b.connect()
        b.vehicle.send_mounts(["CAM_FRONT", "CAM_BACK", "CAM_BACK_LEFT"])
        b.vehicle.send_route()
        waiting = "waiting for TF from 'ego_vehicle/CAM_FRONT_LEFT' to 'ego_vehicle'"
        assert b.drive_until(lambda: b.vehicle.diagnostic() and waiting in b.vehicle.diagnostic().message), b.explain()
        assert not b.runtime.frames
        b.vehicle.send_mounts()
        assert b.drive_until(b.vehicle.plans)
        np.testing.assert_allclose(b.runtime.frames[0].rig.cam_to_base, b.vehicle.rig.cam_to_base, atol=1e-9)


def test_time_jumping_back_starts_afresh(ros_domain: int):
    with bench(ros_domain) as b:
        b.start()
        resets = b.runtime.resets
        b.vehicle.sim_time -= 5 * SECOND
        earlier = b.vehicle.sim_time
        b.vehicle.x = 0.0
        b.vehicle.forget()
        assert b.drive_until(lambda: any(stamp_to_ns(p.header.stamp) < earlier + SECOND for p in b.vehicle.plans()))
        assert b.runtime.resets > resets
        assert b.runtime.frames[-1].ego.pose[0, 3] == pytest.approx(b.vehicle.x, abs=1.0)
        assert b.spin_until(lambda: "time jumped: started afresh" in b.vehicle.told("time"))
        assert b.drive_until(lambda: b.vehicle.told("time")[-1] == "time runs forward")


def test_the_end_of_the_route_is_a_stop_without_an_error(ros_domain: int):
    with bench(ros_domain) as b:
        b.connect()
        b.vehicle.speed = 4.0
        b.vehicle.send_mounts()
        b.vehicle.send_route(length=14.0)
        assert b.drive_until(lambda: any("route ends here" in stop.stop_reason for stop in b.vehicle.stops())), (
            b.explain()
        )
        assert b.spin_until(lambda: b.vehicle.level() == DiagnosticStatus.OK), b.explain()
        # On the way there no plan reached past the end.
        for plan in b.vehicle.plans():
            passed = (stamp_to_ns(plan.header.stamp) - stamp_to_ns(b.vehicle.plans()[0].header.stamp)) / SECOND
            assert length_of(plan) <= 14.0 - 4.0 * passed + 0.5


def test_without_a_route_nothing_is_planned_unless_told_so(ros_domain: int):
    with bench(ros_domain) as b:
        b.connect()
        b.vehicle.send_mounts()
        assert b.drive_until(lambda: b.vehicle.stops() and "waiting for a route" in b.vehicle.stops()[-1].stop_reason)
        assert not b.runtime.frames
    with bench(ros_domain, require_route=False) as b:
        b.connect()
        b.vehicle.send_mounts()
        assert b.drive_until(b.vehicle.plans)
        assert b.drive_until(lambda: any("no route" in text for text in b.vehicle.status().messages))


def test_images_of_another_clock_are_refused_with_the_remedy(ros_domain: int):
    with bench(ros_domain, sim_time=False) as b:
        b.connect()
        b.vehicle.sim_time = 20 * SECOND  # simulated stamps, though the planner was not told of simulation time
        b.vehicle.send_mounts()
        remedy = "behind this node's clock; set use_sim_time"
        for _ in range(200):
            b.vehicle.tick()
            if b.spin_until(lambda: any(remedy in stop.stop_reason for stop in b.vehicle.stops()), 0.3):
                break
        assert remedy in b.vehicle.stops()[-1].stop_reason
        assert not b.runtime.frames


def test_while_the_network_is_slow_the_newest_images_win_and_the_dropped_are_counted(ros_domain: int):
    runtime = StraightRuntime()
    with bench(ros_domain, runtime) as b:
        b.start()
        b.settle()
        counters = b.planner.planning.inputs.synchronizer.counters
        with runtime.held():
            b.vehicle.tick()
            assert b.spin_until(runtime.waiting.is_set)
            complete, superseded = len(runtime.frames), counters.superseded
            last = [b.vehicle.tick() for _ in range(3)][-1]
            b.wait_for_images(last)
        assert b.spin_until(lambda: b.vehicle.was_answered(last))
        assert runtime.frames[-1].stamp == pytest.approx(last / SECOND)
        assert len(runtime.frames) == complete + 1
        assert counters.superseded == superseded + 2
        assert not b.vehicle.stops()


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_a_network_that_fails_stops_the_vehicle_and_is_tried_again(ros_domain: int, failure: str):
    class Failing(StraightRuntime):
        broken = threading.Event()

        def plan(self, frame):
            output = super().plan(frame)
            if self.broken.is_set() and failure == "raises":
                raise RuntimeError("CUDA out of memory")
            if self.broken.is_set():
                output.trajectory[2, 1] = math.nan
            return output

    runtime = Failing()
    runtime.broken.clear()
    with bench(ros_domain, runtime) as b:
        b.start()
        runtime.broken.set()
        assert b.drive_until(b.vehicle.stops)
        reason = b.vehicle.stops()[-1].stop_reason
        assert (
            "CUDA out of memory" if failure == "raises" else "trajectory holds values that are not finite"
        ) in reason
        assert np.isfinite([p.position.y for p in b.vehicle.stops()[-1].poses]).all()
        runtime.broken.clear()
        b.vehicle.forget()
        assert b.drive_until(b.vehicle.plans)


def test_a_best_effort_camera_on_a_reliable_subscription_is_told_of(ros_domain: int):
    with bench(ros_domain) as b:
        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        b.vehicle.create_publisher(Image, "/carla/ego_vehicle/CAM_FRONT/image", profile)
        told = "CAM_FRONT/image: the quality of service with which"
        assert b.spin_until(lambda: any(told in sentence for sentence in b.vehicle.told("peers"))), b.explain()
        sentence = next(sentence for sentence in b.vehicle.told("peers") if told in sentence)
        assert "(best effort publisher and reliable subscription)" in sentence
        assert "set image_reliability to best_effort" in sentence


def test_simulation_time_without_a_clock_is_told_of(ros_domain: int):
    with bench(ros_domain) as b:
        assert b.spin_until(lambda: b.vehicle.told("time"))
        assert "no /clock has come" in b.vehicle.told("time")[-1]
        assert not b.vehicle.received["trajectory"]
