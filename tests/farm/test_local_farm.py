"""`farm up`: what ends it, and what it tells the processes that it starts."""

import os
import signal
import ssl

import pytest
from prefect.settings import Settings

from tasks.services import CLIENTS, asked_to_stop, environment, of_clients


@pytest.fixture
def signals():
    """Puts the handlers back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_the_farm_as_ctrl_c_does(signals, number):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stop = asked_to_stop()
    os.kill(os.getpid(), number)
    assert stop.wait(5)


def test_nohup_outlives_its_terminal(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked_to_stop()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_workers_and_runs_read_one_certificate_and_send_no_heartbeats(tmp_path, monkeypatch):
    server = environment(4200)
    for name in ("PREFECT_API_SSL_CERT_FILE", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", *CLIENTS):
        monkeypatch.delenv(name, raising=False)
        server.pop(name, None)
    told = of_clients(server, tmp_path / "certificate.pem")
    more = {name: value for name, value in told.items() if server.get(name) != value}
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    found = Settings()
    assert found.flows.heartbeat_frequency is None and found.worker.heartbeat_seconds
    assert not found.client.csrf_support_enabled and not found.client.server_version_check_enabled
    assert len(ssl.create_default_context(cafile=found.api.ssl_cert_file).get_ca_certs()) == 1
    assert "PREFECT_API_SSL_CERT_FILE" not in server  # its automations call webhooks


@pytest.mark.parametrize(
    "wanted, left_out",
    [
        ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "PREFECT_FLOWS"),
        ("PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"),
    ],
)
def test_who_wants_heartbeats_or_tokens_keeps_them(tmp_path, wanted, left_out):
    assert left_out in of_clients({}, tmp_path / "certificate.pem")
    assert left_out not in of_clients({wanted: "60"}, tmp_path / "certificate.pem")
