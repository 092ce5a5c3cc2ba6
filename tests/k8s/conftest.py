"""Prefect keeps its files out of the home folder, and one real Prefect server and one small API server are on HTTP."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))  # the helpers of both folders of tests
sys.path.insert(0, str(Path(__file__).parent))

from apiserver import ApiServer
from prefect_process import prefect_server

from tasks.cluster.api import KubeApi


@pytest.fixture(autouse=True, scope="session")
def _prefect_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("DO_NOT_TRACK", "1")
        yield


@pytest.fixture
def apiserver():
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def api(apiserver):
    from kubernetes import client

    with client.ApiClient(client.Configuration(host=apiserver.url)) as transport:
        yield KubeApi(transport)


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory):
    """Address of the API of a real Prefect server."""
    with prefect_server(tmp_path_factory.mktemp("prefect-server"), "--no-services", "--no-ui") as url:
        yield url
