"""Messages are built when they are missing or changed, and their absence says what to run."""

import importlib
import shutil
import sys

import pytest

from rsd_ros import build_messages


def test_nothing_is_outdated_after_a_build():
    assert build_messages.outdated_packages() == []


def test_a_changed_definition_is_outdated(tmp_path, monkeypatch):
    changed = shutil.copytree(build_messages.source_folder("tf2_msgs"), tmp_path / "tf2_msgs")
    (changed / "msg" / "TFMessage.msg").write_text("string other\n")
    before = build_messages.definitions_hash(build_messages.source_folder("tf2_msgs"))
    assert build_messages.definitions_hash(changed) != before
    monkeypatch.setattr(build_messages, "built_hashes", lambda: {"tf2_msgs": "of other definitions"})
    assert build_messages.outdated_packages() == ["tf2_msgs"]


def test_a_real_package_is_left_alone(monkeypatch):
    monkeypatch.setattr(build_messages, "built_hashes", dict)
    assert build_messages.outdated_packages() == []


def test_an_interrupted_build_is_done_again(tmp_path, monkeypatch):
    stamp = tmp_path / "messages.json"
    monkeypatch.setattr(build_messages, "STAMP", stamp)
    monkeypatch.setattr(build_messages, "point_includes_here", lambda: 0)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(build_messages, "build_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_messages.build(["tf2_msgs"])
    assert build_messages.outdated_packages() == ["tf2_msgs"]


def test_importing_messages_that_are_not_built_says_what_to_run(monkeypatch):
    monkeypatch.setattr(build_messages, "outdated_packages", lambda: ["rsd"])
    monkeypatch.delitem(sys.modules, "rsd_ros.compat.messages", raising=False)
    with pytest.raises(
        ImportError, match=r"messages of rsd are not built.*make setup.*python -m rsd_ros\.build_messages"
    ):
        importlib.import_module("rsd_ros.compat.messages")


def test_a_missing_compiler_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(build_messages.shutil, "which", lambda tool, path=None: None)
    with pytest.raises(build_messages.MessageBuildError, match=r"apt-get install -y cmake g\+\+"):
        build_messages.check_tools()


def test_a_compiler_error_is_passed_on(tmp_path):
    broken = shutil.copytree(build_messages.source_folder("tf2_msgs"), tmp_path / "tf2_msgs")
    (broken / "msg" / "TFMessage.msg").write_text("no_such_package/Type field\n")
    with pytest.raises(build_messages.MessageBuildError, match="no_such_package"):
        build_messages.build_one(broken, tmp_path / "build", tmp_path / "prefix")


def test_include_folders_of_the_wheels_build_machine_are_replaced(tmp_path):
    exported = tmp_path / "share" / "some_msgs" / "cmake" / "export_some_msgs__rosidl_generator_pyExport.cmake"
    exported.parent.mkdir(parents=True)
    there = "/opt/python/cp311-cp311"
    line = f'DIRECTORIES "{there}/include/python3.11;{there}/lib/python3.11/site-packages/numpy/_core/include"\n'
    exported.write_text(line)
    assert build_messages.point_includes_here(tmp_path) == 1
    text = exported.read_text()
    assert "cp311-cp311" not in text
    assert text.count(";") == 1
    assert build_messages.point_includes_here(tmp_path) == 0
