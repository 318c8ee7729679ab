"""Paper trading: quotes of a broker, orders to a simulator on these quotes, and no way from one to the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tastytrades import markets, settings_check
from tastytrades.runtime import RuntimeFault
from tastytrades.stack import SERVICES, Options, Stack, paper_options, quotes_broker
from tastytrades.supervisor import Child, Supervisor

BROKER = {
    "TT_MODE": "paper", "TT_BROKER_URL": "https://api.tastyworks.com", "TT_BROKER_CLIENT_SECRET": "their-secret",
    "TT_BROKER_REFRESH_TOKEN": "their-token",
}  # fmt: skip


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who trades on paper with the real broker's quotes."""
    for name, value in BROKER.items():
        monkeypatch.setenv(name, value)


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """What each process would be told, without starting one."""
    stack, children = Stack(Options(folder), lambda _name, _text: None), dict[str, Child]()
    stack.environment = {"TT_MODE": stack.mode, "TT_NATS_URL": "nats://user:pass@127.0.0.1:4222"}

    monkeypatch.setattr(Supervisor, "add", lambda _, child: children.update({child.name: child}))
    monkeypatch.setattr(Stack, "_await_http", lambda *_: None)
    stack._start_broker()
    stack._start_services("")
    return {name: dict(child.environment) for name, child in children.items()}


@pytest.mark.usefixtures("paper")
def test_only_marketdata_knows_the_real_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor is given the simulator's address and grant; nobody but marketdata has the broker's."""
    told = planned(tmp_path, monkeypatch)
    assert set(told) == {"tastysim", *SERVICES}
    simulator = told["executor"]["TT_BROKER_URL"]
    assert simulator == f"http://127.0.0.1:{told['tastysim']['TT_TASTYSIM_PORT']}"
    assert told["tastysim"]["TT_TASTYSIM_MARKET"] == "bus:nats://user:pass@127.0.0.1:4222"
    assert told["tastysim"]["TT_TASTYSIM_DATA_DIR"] == str(tmp_path / "tastysim-paper")
    assert told["executor"]["TT_BROKER_CLIENT_SECRET"] == told["tastysim"]["TT_TASTYSIM_CLIENT_SECRET"]
    assert {told["marketdata"][name] for name in BROKER} == set(BROKER.values())
    for name, environment in told.items():
        assert name == "tastysim" or environment["TT_MODE"] == "paper"
        real = {"https://api.tastyworks.com", "their-secret", "their-token"} & set(environment.values())
        assert bool(real) == (name == "marketdata")


@pytest.mark.usefixtures("paper")
def test_the_simulation_still_has_its_own_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mode nothing is different: both are told the simulator."""
    for name in BROKER:
        monkeypatch.delenv(name)
    told = planned(tmp_path, monkeypatch)
    assert "TT_TASTYSIM_MARKET" not in told["tastysim"]
    assert told["marketdata"]["TT_BROKER_URL"] == told["executor"]["TT_BROKER_URL"]
    assert told["marketdata"]["TT_BROKER_CLIENT_SECRET"] == told["executor"]["TT_BROKER_CLIENT_SECRET"]


def test_every_variable_of_paper_trading_passes_the_check_and_no_other_mode_takes_the_real_address() -> None:
    """The real broker's address is for quotes in paper; in sim it is refused."""
    settings_check.check(BROKER)
    settings_check.check(BROKER | {"TT_EXECUTOR_WALK_STEPS": "3", "TT_RISK_STATE_SECONDS": "0.5"})
    with pytest.raises(RuntimeFault, match="TT_BROKER_URL is the broker's live address and TT_MODE is 'sim'"):
        settings_check.check(BROKER | {"TT_MODE": "sim"})
    with pytest.raises(RuntimeFault, match="TT_BROKER_URL is the broker's cert address"):
        settings_check.check(BROKER | {"TT_BROKER_URL": "https://api.cert.tastyworks.com"})


@pytest.mark.parametrize("missing", ["TT_BROKER_URL", "TT_BROKER_CLIENT_SECRET", "TT_BROKER_REFRESH_TOKEN"])
def test_quotes_without_a_broker_are_explained(missing: str) -> None:
    """The line names what is missing and says where orders go; no secret is in it."""
    environ = {name: value for name, value in BROKER.items() if name != missing}
    with pytest.raises(RuntimeFault, match=missing) as refused:
        quotes_broker(environ)
    assert "their" not in str(refused.value)


@pytest.mark.parametrize("options", [{"market": "replay:x.parquet"}, {"speed": 2.0}])
def test_paper_has_no_market_or_speed_of_its_own(tmp_path: Path, options: dict[str, object]) -> None:
    """Real quotes come at their own time."""
    with pytest.raises(RuntimeFault, match="leave out --market and --speed"):
        paper_options(Options(tmp_path, **options), "nats://host")  # type: ignore[arg-type]


def test_markets_are_read_and_shown(tmp_path: Path) -> None:
    """Files by their full path with their days and names; a bus without its login; accounts in a folder each."""
    file = tmp_path / "minutes.parquet"
    file.touch()
    text = markets.check(f"replay-minutes:{file}@2021-01-04..2021-01-08,SPX")
    assert text == f"replay-minutes:{file}@2021-01-04..2021-01-08,SPX"
    bus = markets.check("bus:nats://user:secret@host:4222")
    assert markets.shown(bus) == "bus:nats://host:4222"
    folders = [markets.folder(each) for each in ("model", bus, f"replay:{file}", text)]
    assert folders == ["tastysim", "tastysim-paper", "tastysim-minutes", "tastysim-minutes-minutes"]
    for wrong, says in (("bus:http://user:secret@x", "is written bus:nats"), ("tape:x", "is not known: use `model`")):
        with pytest.raises(RuntimeFault, match=says) as refused:
            markets.check(wrong)
        assert "secret" not in str(refused.value)
