"""`make demo`: world, planner and controller as three ROS 2 processes, a live table, and a report of the drive."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import platform
import signal
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rsd_ros.demo_processes import DemoError, DriveProcesses, free_domain_id
from rsd_ros.drive_log import DriveLog, DriveLogError, infractions_of, outcome_words, read_drive

PASSED, NOT_PASSED, BROKEN = 0, 1, 3
INTERRUPTED = "interrupted"
# s of wall time: on a busy machine the drive gets slower, it does not get another one
SYNC_DEADLINE, TRAJECTORY_WAIT, CONTROL_TIMEOUT, DRIVER_TIMEOUT = 2.0, 10.0, 20.0, 600.0
PRODUCTS = ("drive.mcap", "drive.mp4", "report.html", "metrics.json", "logs")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line of the demo."""
    parser = argparse.ArgumentParser(
        prog="python -m rsd_ros.demo",
        description="Drive the embedded world over ROS 2 and write out/demo/<stamp>/{drive.mcap,drive.mp4,report.html,"
        "metrics.json}. Exit code: 0 route finished (or --duration reached) without a collision, 1 not, 3 it broke.",
    )
    parser.add_argument("--town", default="birch", help="birch, alder, or the .npz of an imported town [birch]")
    parser.add_argument("--route", type=int, default=0, help="which of the town's routes [0]")
    parser.add_argument("--scenario", default="", help="a Bench2Drive scenario name, such as PedestrianCrossing")
    parser.add_argument("--weather", default="clear", help="clear, overcast, rain, fog, dusk or night [clear]")
    parser.add_argument("--seed", type=int, default=0, help="traffic, lights and place of the scenario [0]")
    parser.add_argument("--vehicles", type=int, default=30, help="cars in traffic [30]")
    parser.add_argument("--pedestrians", type=int, default=20, help="people on foot [20]")
    parser.add_argument("--duration", type=float, default=0.0, help="end after this many simulated s [route's end]")
    parser.add_argument("--rig", default="400x225", help="image size of the six cameras, WIDTHxHEIGHT [400x225]")
    parser.add_argument("--weights", default="", help="safetensors of another planner [shipped nano]")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda [auto]")
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True, help="MCAP, video and report")
    parser.add_argument("--view", action="store_true", help="a live window (needs a display)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder of the results [out/demo]")
    parsed = parser.parse_args(arguments)
    try:
        parsed.width, parsed.height = (int(v) for v in parsed.rig.split("x"))
    except ValueError:
        parser.error(f"--rig {parsed.rig!r}: expected WIDTHxHEIGHT, such as 400x225")
    if parsed.view and not parsed.record:
        parser.error("--view shows the images that are recorded: leave --no-record out")
    if parsed.view and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        parser.error("--view needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set: leave it out")
    return parsed


def world_parameters(options: argparse.Namespace) -> dict[str, object]:
    """Parameters of `/rsd/world` for these options."""
    return {
        "town": options.town, "route": options.route, "scenario": options.scenario, "weather": options.weather,
        "seed": options.seed, "vehicles": options.vehicles, "pedestrians": options.pedestrians,
        "max_seconds": options.duration, "image_width": options.width, "image_height": options.height,
        "control_timeout": CONTROL_TIMEOUT, "driver_timeout": DRIVER_TIMEOUT,
    }  # fmt: skip


def planner_parameters(options: argparse.Namespace) -> dict[str, object]:
    """Parameters of `/rsd/planner` for these options."""
    return {
        "weights": options.weights, "device": options.device, "use_sim_time": True, "sync_deadline": SYNC_DEADLINE
    }  # fmt: skip


def control_parameters() -> dict[str, object]:
    """Parameters of `/rsd/control`."""
    return {"use_sim_time": True, "trajectory_wait": TRAJECTORY_WAIT}


def drive(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], str]:
    """Run the processes until the world ends, one dies or Ctrl-C comes.

    Returns what was watched (wall time, the world's last report), and what went wrong, empty where nothing did.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from rsd_ros.live_table import DriveWatcher

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C must not close the recording first
    problem = ""
    with DriveProcesses(folder / "logs") as processes:
        processes.start("planner", "rsd_ros.planner_node", planner_parameters(options))
        processes.start("control", "rsd_ros.control_node", control_parameters())
        watcher = DriveWatcher(title(options), folder / "drive.mcap" if options.record else None, options.view)
        try:
            processes.start("world", "rsd_ros.world_node", world_parameters(options))
            watcher.watch(processes)
        except DemoError as error:
            problem = str(error)
        except OSError as error:
            problem = f"the drive cannot be recorded: {error}"
        except KeyboardInterrupt:
            problem = INTERRUPTED
        finally:
            processes.end()
            seen = watcher.close()
            rclpy.try_shutdown()
    return seen, problem


def title(options: argparse.Namespace) -> str:
    """The drive in a few words."""
    return f"{options.town}, route {options.route}, {options.scenario or 'plain driving'}, {options.weather}"


def judge(world: dict, options: argparse.Namespace) -> bool:
    """Route finished, or the asked duration driven, without a collision."""
    collided = any(str(i["kind"]).startswith("collisions_") for i in world.get("infractions", []))
    reached = options.duration > 0.0 and world.get("time", 0.0) >= options.duration - 0.15
    return not collided and (world.get("outcome") == "completed" or reached)


def summarise(options: argparse.Namespace, folder: Path, seen: dict[str, Any], problem: str) -> dict[str, Any]:
    """Write metrics.json and, from the recording, the report and the video; returns the metrics."""
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    metrics: dict[str, Any] = {
        "passed": not problem and judge(seen["world"], options), "problem": problem,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "wall_seconds": seen["wall_seconds"],
        "real_time_factor": seen["real_time_factor"], "options": settings, "world": seen["world"],
    }  # fmt: skip
    try:
        if options.record:
            from rsd_ros.drive_report import drive_metrics, write_report

            log = read_drive(folder / "drive.mcap")
            metrics = drive_metrics(log, metrics)
            _video_with_progress(log, folder / "drive.mp4")
            write_report(log, metrics, folder / "report.html", "drive.mp4")
    finally:
        (folder / "metrics.json").write_text(json.dumps(_finite(metrics), indent=1))
    return metrics


def _finite(value: Any) -> Any:
    """JSON knows no nan: such a number becomes null."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _video_with_progress(log: DriveLog, path: Path) -> None:
    from rich.progress import Progress

    from rsd_ros.drive_video import write_video

    with Progress() as progress:
        task = progress.add_task("drawing the video", total=len(log.moments))
        write_video(log, path, lambda: progress.advance(task))


def say(metrics: dict[str, Any], folder: Path) -> None:
    """The drive's end in a few lines."""
    world = metrics["world"]
    score = (world.get("score") or {}).get("driving_score")
    scored = "" if score is None else f", driving score {score:.1f} (embedded world)"
    print(
        f"{outcome_words(world)}: {100 * world.get('progress', 0.0):.0f} % of the route in "
        f"{world.get('time', 0.0):.1f} simulated s, real-time factor {metrics['real_time_factor']:.2f}{scored}"
    )
    for infraction in infractions_of(world):
        print(f"  {infraction['time']:.1f} s {infraction['kind']}: {infraction['detail']}")
    print("\n".join(f"  {folder / name}" for name in PRODUCTS if (folder / name).exists()), flush=True)


def fresh_folder(out: Path) -> Path:
    """A new folder below `out`, named after the time. Raises OSError where none can be made."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for name in (stamp, *(f"{stamp}_{number}" for number in range(2, 100))):
        with suppress(FileExistsError):  # another demo that started in this second
            (out / name).mkdir(parents=True)
            return out / name
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(out / stamp))


def drive_and_report(options: argparse.Namespace) -> int:
    """The whole demo; returns the exit code. Raises DemoError or OSError where it breaks."""
    folder = fresh_folder(options.out)
    os.environ.setdefault("ROS_DOMAIN_ID", str(free_domain_id()))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    print(f"RSD demo: {title(options)}.")
    watch = f"export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    print(f"To look on with other ROS 2 tools: {watch}", flush=True)
    seen, problem = drive(options, folder)
    broken = problem not in ("", INTERRUPTED)
    if problem:
        print(f"rsd demo: {problem}", file=sys.stderr, flush=True)
    try:
        metrics = summarise(options, folder, seen, problem)
    except DriveLogError as error:
        if not problem:  # else it has been said why nothing was driven
            print(f"rsd demo: no report: {error}", file=sys.stderr)
        return NOT_PASSED if problem == INTERRUPTED else BROKEN
    say(metrics, folder)
    return BROKEN if broken else PASSED if metrics["passed"] else NOT_PASSED


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = parse_arguments(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # end as with Ctrl-C: no process is left behind
    try:
        return drive_and_report(options)
    except DemoError as error:
        print(f"rsd demo: {error}", file=sys.stderr)
        return BROKEN
    except OSError as error:
        print(f"rsd demo: {error}; --out names another folder for the results", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        print(f"rsd demo: {INTERRUPTED}", file=sys.stderr)
        return NOT_PASSED


if __name__ == "__main__":
    sys.exit(main())
