"""What the simulator lists beside the underlyings of its market: facts of futures, coins, warrants, indices and names.

Facts of contracts (months, ticks, multipliers, codes) are the exchanges'. Prices are not here: a market follows
(`followers`), and every level below is where an instrument stands when its source stands at its own opening price.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

MONTHS = "FGHJKMNQUVXZ"
"""Codes of January to December."""
QUARTERLY = "HMUZ"
Rule = Literal["index", "treasury", "metal", "oil", "volatility"]
"""How the last trading day of a contract month is found."""


@dataclass(frozen=True, slots=True)
class OptionProduct:
    """Options on a future. monthly: the end-of-month series, whose underlying is the next future."""

    root: str
    description: str
    step: float
    """Distance of strikes, points."""
    ticks: tuple[tuple[str | None, str], ...]
    """(below, tick) of its prices."""
    monthly: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """A futures product. source, level, power: its price is level × (source ÷ its opening price) ^ power."""

    code: str
    description: str
    exchange: str
    streamer_exchange: str
    sector: str
    listed: str
    multiplier: Decimal
    """$ per point."""
    tick: Decimal
    rule: Rule
    source: str
    level: float
    power: float = 1.0
    display: Decimal = Decimal("0.01")
    small: bool = False
    cash_settled: bool = True
    contracts: int = 5
    roll_days: int = 4
    """Sessions before its last one at which a contract stops being the active one."""
    etf_shares: int | None = None
    options: tuple[OptionProduct, ...] = ()

    @property
    def root(self) -> str:
        return f"/{self.code}"

    @property
    def kind(self) -> str:
        """Financial or Physical."""
        return "Physical" if self.sector in ("Energy", "Metals") else "Financial"


_ES_TICKS = (("5.0", "0.05"), (None, "0.25"))
_ES = (OptionProduct("ES", "E-mini S&P 500 options", 25.0, _ES_TICKS),
       OptionProduct("EW", "E-mini S&P 500 end-of-month options", 25.0, _ES_TICKS, monthly=True))  # fmt: skip
_NQ_TICKS = (("5.0", "0.05"), (None, "0.25"))
_OIL, _GOLD, _SILVER = ((None, "0.01"),), ((None, "0.10"),), ((None, "0.005"),)
_NOTE, _BOND = ((None, "0.015625"),), ((None, "0.015625"),)


def _d(text: str) -> Decimal:
    return Decimal(text)


PRODUCTS: tuple[Product, ...] = (
    Product("ES", "E Mini S&P", "CME", "XCME", "Equity Index", QUARTERLY, _d("50"), _d("0.25"), "index", "SPY", 6900,
            etf_shares=500, options=_ES),
    Product("MES", "Micro E Mini S&P", "CME", "XCME", "Equity Index", QUARTERLY, _d("5"), _d("0.25"), "index", "SPY",
            6900, small=True, etf_shares=50),
    Product("NQ", "E Mini Nasdaq 100", "CME", "XCME", "Equity Index", QUARTERLY, _d("20"), _d("0.25"), "index", "QQQ",
            25_280, etf_shares=822, options=(OptionProduct("NQ", "E-mini Nasdaq 100 options", 100.0, _NQ_TICKS),)),
    Product("MNQ", "Micro E Mini Nasdaq 100", "CME", "XCME", "Equity Index", QUARTERLY, _d("2"), _d("0.25"), "index",
            "QQQ", 25_280, small=True, etf_shares=82),
    Product("RTY", "E Mini Russell 2000", "CME", "XCME", "Equity Index", QUARTERLY, _d("50"), _d("0.1"), "index", "IWM",
            2467, etf_shares=503),
    Product("M2K", "Micro E Mini Russell 2000", "CME", "XCME", "Equity Index", QUARTERLY, _d("5"), _d("0.1"), "index",
            "IWM", 2467, small=True, etf_shares=50),
    Product("YM", "E Mini Dow", "CME", "XCBT", "Equity Index", QUARTERLY, _d("5"), _d("1"), "index", "DIA", 47_000,
            display=_d("1"), etf_shares=500),
    Product("GC", "Gold", "CME", "XCEC", "Metals", "GJMQVZ", _d("100"), _d("0.1"), "metal", "GLD", 4075,
            cash_settled=False, display=_d("0.1"), options=(OptionProduct("OG", "Gold options", 25.0, _GOLD),)),
    Product("MGC", "Micro Gold", "CME", "XCEC", "Metals", "GJMQVZ", _d("10"), _d("0.1"), "metal", "GLD", 4075,
            cash_settled=False, display=_d("0.1"), small=True),
    Product("SI", "Silver", "CME", "XCEC", "Metals", "HKNUZ", _d("5000"), _d("0.005"), "metal", "SLV", 50.7,
            cash_settled=False, display=_d("0.001"), options=(OptionProduct("SO", "Silver options", 0.5, _SILVER),)),
    Product("CL", "Crude Oil", "CME", "XNYM", "Energy", MONTHS, _d("1000"), _d("0.01"), "oil", "XLE", 60.0, 1.3,
            cash_settled=False, contracts=8, options=(OptionProduct("LO", "Crude oil options", 1.0, _OIL),)),
    Product("MCL", "Micro Crude Oil", "CME", "XNYM", "Energy", MONTHS, _d("100"), _d("0.01"), "oil", "XLE", 60.0, 1.3,
            small=True, contracts=8),
    Product("ZN", "10 Year Treasury Note", "CME", "XCBT", "Interest Rate", QUARTERLY, _d("1000"), _d("0.015625"),
            "treasury", "TLT", 113.0, 0.38, cash_settled=False, contracts=3,
            options=(OptionProduct("OZN", "10-year note options", 0.5, _NOTE),)),
    Product("ZB", "30 Year Treasury Bond", "CME", "XCBT", "Interest Rate", QUARTERLY, _d("1000"), _d("0.03125"),
            "treasury", "TLT", 117.5, 0.75, cash_settled=False, contracts=3,
            options=(OptionProduct("OZB", "30-year bond options", 1.0, _BOND),)),
    Product("VX", "CBOE Volatility Index", "CFE", "XCBF", "Volatility", MONTHS, _d("1000"), _d("0.05"), "volatility",
            "SPY", 100.0, contracts=6, roll_days=2),
)  # fmt: skip
"""Source of the facts: contract specifications of CME Group and Cboe. `level` and `power` are the simulator's."""
BY_CODE = {each.code: each for each in PRODUCTS}


@dataclass(frozen=True, slots=True)
class Name:
    """An equity or an index without options here. Its price follows its source as a product's does."""

    symbol: str
    description: str
    source: str
    level: float
    power: float
    market: str = "XNYS"
    is_etf: bool = False
    is_index: bool = False


NAMES: tuple[Name, ...] = (
    Name("SPX", "S&P 500 index", "SPY", 6900.0, 1.0, "OTC", is_index=True),
    Name("NDX", "Nasdaq 100 index", "QQQ", 25_280.0, 1.0, "OTC", is_index=True),
    Name("RUT", "Russell 2000 index", "IWM", 2467.0, 1.0, "OTC", is_index=True),
    Name("VIX", "CBOE Volatility Index", "SPY", 100.0, 1.0, "OTC", is_index=True),
    Name("F", "Ford Motor", "SPY", 13.2, 1.5),
    Name("KO", "Coca-Cola", "SPY", 71.0, 0.6),
    Name("PEP", "PepsiCo", "SPY", 147.0, 0.6, "XNAS"),
    Name("BRK/B", "Berkshire Hathaway B", "SPY", 505.0, 0.85),
    Name("SPLG", "S&P 500 portfolio ETF", "SPY", 81.0, 1.0, "ARCX", is_etf=True),
    Name("USO", "Oil fund", "XLE", 71.0, 1.2, "ARCX", is_etf=True),
)
FROM_VOLATILITY = frozenset(("VIX", "VX"))
"""Priced at 100 × the implied volatility of their source, in place of its price."""


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin. It is listed and quoted; orders in coins are refused, as at the broker since June 2026."""

    id: int
    symbol: str
    name: str
    level: float
    power: float
    source: str = "QQQ"

    @property
    def streamer(self) -> str:
        return f"{self.symbol}:CXTALP"


COINS: tuple[Coin, ...] = (
    Coin(5, "BTC/USD", "Bitcoin", 91_000.0, 1.9),
    Coin(6, "ETH/USD", "Ethereum", 3_050.0, 2.3),
    Coin(7, "LTC/USD", "Litecoin", 84.0, 2.0),
    Coin(8, "BCH/USD", "Bitcoin Cash", 530.0, 2.0),
)
WARRANTS: tuple[tuple[str, str, str], ...] = (("NKLAW", "XNAS", "Nikola Corporation - Warrant"),)
"""Symbol, market and description; none of them trades any more."""
PAIRS: tuple[tuple[int, str, str], ...] = (
    (1, "EUR/USD", "Euro / US dollar"), (2, "GBP/USD", "British pound / US dollar"),
    (3, "USD/JPY", "US dollar / Japanese yen"), (4, "AUD/USD", "Australian dollar / US dollar"),
)  # fmt: skip
"""Currency pairs by id. They are not quoted."""
