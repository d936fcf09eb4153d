"""Two nodes of one core each, on this machine, which know the way to a bucket on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.files.remote.s3 import Server, environment, serving

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("obstore")
    with serving() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(found.url).items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def cluster(server: Server) -> Iterator[Any]:
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE)
    made.add_node(**NODE)
    try:
        yield made
    finally:
        made.shutdown()
