"""Runs of labelling against a test's own server, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from small_frames import SmallFrames

from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.run import LabelRun, RunConfig, claim_folder
from rsd_offline.labeling.store import read_table
from rsd_offline.labeling.teachers.openai_server import OpenAIServer, ServerConfig

ONE = LabelConfig(tasks=("risk",), samples=1)


def label(server, out, frames=1, config=ONE, source=None, timeout=20.0, choices=8, temperature=0.7, **run):
    """One run; its progress."""
    source = source or SmallFrames(frames)
    settings = {"concurrency": 4, "shard_frames": 4, "first_pause": 0.01} | run
    teacher = OpenAIServer(ServerConfig("test-model", server.url, temperature, timeout=timeout, choices=choices))
    labelling = LabelRun(source, out, teacher, config, RunConfig(**settings))
    claim_folder(out, labelling.identity, {})
    return asyncio.run(labelling.run())


def rows(out, kind):
    return read_table(out, kind).to_pylist()


def faults(out):
    return dict(f.rsplit(":", 1) for row in rows(out, "audit") for f in row["faults"])


def names(server):
    """How often each question was asked."""
    return Counter(json.dumps([b["messages"], b["seed"]]) for b in server.bodies)
