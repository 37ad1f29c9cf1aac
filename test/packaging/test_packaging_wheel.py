"""`pip install .`: the wheel holds everything that a drive needs, and finds it again."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns(".*", "out", "runs", "data", "build", "__pycache__", "*.egg-info", "test", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of this tree, built in a copy so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("source") / "rsd"
    shutil.copytree(ROOT, copy, ignore=IGNORED)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run(command, cwd=copy, check=True, timeout=250)
    (built,) = (copy / "dist").glob("rsd_drive-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The prefix that the wheel was installed into."""
    prefix = tmp_path_factory.mktemp("prefix")
    # Without --ignore-installed pip would first uninstall the tree from the environment that runs this test.
    options = ["-q", "--no-deps", "--ignore-installed", "--prefix", str(prefix)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, timeout=250)
    return prefix


def files_of_the_tree() -> set[str]:
    """Every file inside a package, and every file below config, launch and msg."""
    packages = ("rsd_model", "rsd_world", "rsd_ros", "rsd_offline", "config", "launch", "msg")
    files = (path for package in packages for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_nothing_of_the_tree_is_missing_from_the_wheel(wheel):
    names = {
        name.split(".data/data/share/rsd/")[-1].removeprefix("source/") for name in zipfile.ZipFile(wheel).namelist()
    }
    assert files_of_the_tree() - names == set()
    assert {"CMakeLists.txt", "package.xml"} <= names


def test_no_compiled_leftovers_are_in_the_wheel(wheel):
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".pyc") or "/.venv" in name] == []


def run_installed(prefix: Path, code: str) -> str:
    (packages,) = prefix.glob("lib/python*/site-packages")
    code = f"import sys; sys.path.insert(0, {str(packages)!r}); {code}"
    result = subprocess.run([sys.executable, "-I", "-c", code], cwd=prefix, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_configuration_is_found_where_pip_put_it(installed):
    found = run_installed(installed, "from rsd_model.resources import config_path; print(config_path('fastdds.xml'))")
    assert found == str(installed / "share" / "rsd" / "config" / "fastdds.xml")


def test_the_messages_can_be_built_from_an_installation(installed):
    code = "from rsd_ros.build_messages import source_folder as of; print([p.name for p in of('rsd').glob('**/*')])"
    listed = run_installed(installed, code)
    assert "RiskGrid.msg" in listed
    assert "CMakeLists.txt" in listed


def test_a_file_that_does_not_exist_is_searched_by_name():
    from rsd_model.resources import config_path

    with pytest.raises(FileNotFoundError, match=r"config/no_such\.yaml is neither in a checkout nor installed"):
        config_path("no_such.yaml")
