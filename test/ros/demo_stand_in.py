"""The demo with light processes in the places of world, planner and control: its own flow, without network and GL.

`python -m demo_stand_in CASE [demo options]` is the demo; as one of its processes it is started with its role. The
world sends ticks and ends; the case decides what happens on the way.
"""

from __future__ import annotations

import os
import signal
import sys
import time

CASE = "DEMO_STAND_IN_CASE"
RECORDS = "DEMO_STAND_IN_RECORDS"  # empty: nothing is recorded, so that some topics have no listener
AUDIENCE = 60.0  # s until all that are to listen do
TICKS = 8


def world(case: str) -> int:
    """Send ticks once the demo listens, then the closing report."""
    import rclpy
    from drive_samples import LATCHED, PLANNER, SECOND, VEHICLE, closing_event, route, tick
    from rclpy.duration import Duration
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CompressedImage

    from rsd_ros.conversions import decode_image, image_message, ns_to_stamp
    from rsd_ros.drive_log import EVENTS, ODOMETRY
    from rsd_ros.mcap_file import recorder_profile

    rclpy.init()
    node = rclpy.create_node("world", namespace="rsd")
    publishers = {}

    def send(topic: str, message: object, publish: bool = True) -> None:
        if isinstance(message, CompressedImage):
            rgb, header = decode_image(message, topic, (80, 45)), message.header
            topic, message = topic.removesuffix("/compressed"), image_message(rgb, header.stamp, header.frame_id)
        if topic not in publishers:
            publishers[topic] = node.create_publisher(type(message), topic, recorder_profile(topic in LATCHED))
        if publish:
            publishers[topic].publish(message)

    first = {"/clock": Clock(clock=ns_to_stamp(SECOND)), EVENTS: closing_event(), **tick(SECOND)}
    for topic, message in first.items():
        send(topic, message, publish=False)
    send(f"{VEHICLE}/waypoints", route())
    recorders = 1 if os.environ[RECORDS] else 0
    seen_in_the_table = ("trajectory", "status", "objects")
    watched = {"/clock", EVENTS, ODOMETRY, *(f"{PLANNER}/{name}" for name in seen_in_the_table)}
    until = time.monotonic() + AUDIENCE
    while unheard := [t for t, p in publishers.items() if p.get_subscription_count() < recorders + (t in watched)]:
        if time.monotonic() > until:
            raise SystemExit(f"nobody listens to {', '.join(unheard)}")
        time.sleep(0.05)
    for number in range(10**6 if case in ("interrupted", "planner dies") else TICKS):
        stamp = SECOND + number * SECOND // 10
        messages = {"/clock": Clock(clock=ns_to_stamp(stamp)), **tick(stamp)}
        for topic, message in messages.items():
            if case != "no plans" or not topic.startswith(PLANNER):
                send(topic, message)
        time.sleep(0.05)
    collision = {"kind": "collisions_vehicle", "time": 0.5, "detail": "hit a car"}
    send(EVENTS, closing_event(infractions=[collision] if case == "collides" else []))
    for publisher in publishers.values():
        publisher.wait_for_all_acked(Duration(seconds=20.0))
    return 0


def other(role: str, case: str) -> int:
    """Wait to be ended, or end with a last word."""
    if (role, case) == ("planner", "planner dies"):
        time.sleep(10.0)
        print("cannot be configured: no weights ship for config 'nano'")
        return 3
    while True:
        time.sleep(60.0)


def demo(arguments: list[str]) -> int:
    """The real demo, with other modules to start."""
    from rsd_ros import demo as real
    from rsd_ros.demo_processes import DriveProcesses

    start = DriveProcesses.start
    DriveProcesses.start = lambda self, name, module, parameters: start(self, name, "demo_stand_in", {"role": name})
    os.environ[CASE] = arguments[0]
    os.environ[RECORDS] = "" if "--no-record" in arguments else "yes"
    return real.main(arguments[1:])


def main() -> int:
    """Which of them is meant."""
    role = next((word.removeprefix("role:=") for word in sys.argv if word.startswith("role:=")), "")
    if not role:
        return demo(sys.argv[1:])
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    return world(os.environ[CASE]) if role == "world" else other(role, os.environ[CASE])


if __name__ == "__main__":
    sys.exit(main())
