"""`make` on any machine: what is missing is installed where that is allowed, and named where it is not."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def setup_environment():
    spec = importlib.util.spec_from_file_location("setup_environment", ROOT / "tools" / "setup_environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(setup_environment, monkeypatch) -> list[str]:
    """The commands that would run, instead of running them."""
    ran: list[str] = []
    monkeypatch.setattr(setup_environment, "run", lambda *words, **options: ran.append(" ".join(map(str, words))))
    return ran


def test_the_tool_needs_nothing_but_the_standard_library():
    isolated = [sys.executable, "-I", "-S", str(ROOT / "tools" / "setup_environment.py"), "--help"]
    assert subprocess.run(isolated, capture_output=True, check=False, timeout=30).returncode == 0


def test_missing_libraries_are_named_as_debian_packages(setup_environment, monkeypatch):
    monkeypatch.setattr(setup_environment.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(setup_environment.shutil, "which", lambda name: None)
    monkeypatch.setattr(setup_environment, "DRI_DRIVERS", ("no_such_driver.so",))
    monkeypatch.setattr(setup_environment, "has_nvidia_driver", lambda: False)
    assert setup_environment.missing_system_packages()[:4] == ["libgl1", "libegl1", "libgl1-mesa-dri", "g++"]


def test_root_installs_missing_packages(setup_environment, commands, monkeypatch):
    monkeypatch.setattr(setup_environment.os, "geteuid", lambda: 0)
    setup_environment.install_system_packages(["libegl1"])
    assert commands == ["apt-get update -q", "apt-get install -y --no-install-recommends libegl1"]


def test_a_user_with_passwordless_sudo_installs_through_it(setup_environment, commands, monkeypatch):
    monkeypatch.setattr(setup_environment.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup_environment, "may_sudo", lambda: True)
    setup_environment.install_system_packages(["libegl1"])
    assert all(command.startswith("sudo -n apt-get") for command in commands)
    assert len(commands) == 2


def test_any_other_user_is_told_the_exact_command(setup_environment, commands, monkeypatch):
    monkeypatch.setattr(setup_environment.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup_environment, "may_sudo", lambda: False)
    with pytest.raises(
        setup_environment.SetupError, match=r"sudo apt-get install -y --no-install-recommends libegl1 g\+\+"
    ):
        setup_environment.install_system_packages(["libegl1", "g++"])
    assert commands == []


@pytest.mark.parametrize(("driver", "build"), [(True, "torch==2.13.0"), (False, "torch==2.13.0+cpu")])
def test_torch_is_the_cuda_build_where_there_is_a_driver(setup_environment, commands, monkeypatch, driver, build):
    monkeypatch.setattr(setup_environment, "has_nvidia_driver", lambda: driver)
    setup_environment.install_torch(Path(".venv"))
    assert commands == [f".venv/bin/python -m pip install -q {build}"]


def test_the_cpu_build_is_fetched_from_its_own_index_where_pip_knows_none(setup_environment, monkeypatch):
    asked = []

    def pip(venv, *arguments):
        asked.append(arguments)
        if len(asked) == 1:
            raise setup_environment.SetupError("no matching distribution")

    monkeypatch.setattr(setup_environment, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(setup_environment, "pip", pip)
    setup_environment.install_torch(Path(".venv"))
    assert asked[1] == ("torch==2.13.0+cpu", "--extra-index-url", setup_environment.CPU_TORCH_INDEX)


def test_another_python_is_refused_with_the_remedy(setup_environment, monkeypatch):
    monkeypatch.setattr(setup_environment, "PYTHONS", ((3, 98), (3, 99)))
    with pytest.raises(setup_environment.SetupError, match="make PYTHON="):
        setup_environment.check_python()


def test_a_second_run_skips_what_the_first_has_done(setup_environment, tmp_path):
    first = setup_environment.Stamp(tmp_path / "stamp.json")
    assert not first.covers("packages", "inputs", {"dev"})
    first.record("packages", "inputs", {"dev", "train"})
    second = setup_environment.Stamp(tmp_path / "stamp.json")
    assert second.covers("packages", "inputs", {"dev"})
    assert second.covers("packages", "inputs", ())
    assert not second.covers("packages", "changed inputs", {"dev"})
    assert not second.covers("packages", "inputs", {"labels"})


def test_a_step_that_fails_shows_its_last_lines(setup_environment):
    with pytest.raises(setup_environment.SetupError, match=r"probe failed with exit code 3\s+why it failed"):
        setup_environment.run(
            sys.executable, "-c", "print('why it failed'); raise SystemExit(3)", what="probe", seconds=30
        )
