"""Single legs, and options held against shares."""

from __future__ import annotations

from strategies.structures.template import Bias, Condition, Context, Strikes, Structure, VolatilityView, define


def _cash_covers(strikes: Strikes, context: Context) -> bool:
    return context.cash is not None and context.cash >= strikes["a"] * context.multiplier


CASH_COVERS = Condition("cash for the shares (strike × 100) must be set aside", _cash_covers, spends_cash=True)

BULLISH, BEARISH, NEUTRAL, NO_VIEW = Bias.BULLISH, Bias.BEARISH, Bias.NEUTRAL, Bias.NONE
LONG, SHORT, FLAT = VolatilityView.LONG, VolatilityView.SHORT, VolatilityView.FLAT

STRUCTURES: tuple[Structure, ...] = (
    define(
        "long_stock", "long stock", "+1 shares",
        bias=BULLISH, volatility=FLAT,
        gains="a rising price", risks="a falling price",
    ),
    define(
        "short_stock", "short stock", "-1 shares",
        bias=BEARISH, volatility=FLAT,
        gains="a falling price", risks="a rising price and borrowing costs",
    ),
    define(
        "long_call", "long call", "+1 call a", "a: delta 0.50",
        bias=BULLISH, volatility=LONG,
        gains="a fast rise", risks="time passing without one",
    ),
    define(
        "short_call", "short call", "-1 call a", "a: delta 0.20",
        bias=BEARISH, volatility=SHORT, also=("naked call",),
        gains="time passing below the strike", risks="a rise beyond the strike, without limit",
    ),
    define(
        "long_put", "long put", "+1 put a", "a: delta 0.50",
        bias=BEARISH, volatility=LONG,
        gains="a fast fall", risks="time passing without one",
    ),
    define(
        "short_put", "short put", "-1 put a", "a: delta 0.20",
        bias=BULLISH, volatility=SHORT, also=("naked put",),
        gains="time passing above the strike", risks="a fall below the strike",
    ),
    define(
        "cash_secured_put", "cash-secured put", "-1 put a", "a: delta 0.30",
        bias=BULLISH, volatility=SHORT, condition=CASH_COVERS,
        gains="time passing above the strike, or shares bought below today's price",
        risks="a fall well below the strike while obliged to buy",
    ),
    define(
        "covered_call", "covered call", "+100 shares | -1 call a", "a: delta 0.30",
        bias=BULLISH, volatility=SHORT, also=("buy-write",),
        gains="time passing and a rise to the strike", risks="a fall of the shares; gains end at the strike",
    ),
    define(
        "covered_put", "covered put", "-100 shares | -1 put a", "a: delta 0.30",
        bias=BEARISH, volatility=SHORT,
        gains="time passing and a fall to the strike", risks="a rise of the shares sold short, without limit",
    ),
    define(
        "protective_put", "protective put", "+100 shares | +1 put a", "a: delta 0.30",
        bias=BULLISH, volatility=LONG, also=("married put",),
        gains="a rise, with the fall below the strike insured", risks="the premium and a fall down to the strike",
    ),
    define(
        "protective_call", "protective call", "-100 shares | +1 call a", "a: delta 0.30",
        bias=BEARISH, volatility=LONG, also=("synthetic put",),
        gains="a fall, with the rise above the strike insured", risks="the premium and a rise up to the strike",
    ),
    define(
        "collar", "collar", "+100 shares | +1 put a | -1 call b", "a: delta 0.25 | b: delta 0.25",
        bias=BULLISH, volatility=FLAT, also=("fence",),
        gains="a rise to the call's strike, with falls below the put's insured",
        risks="a fall down to the put's strike; gains end at the call's",
    ),
    define(
        "short_collar", "short collar", "-100 shares | -1 put a | +1 call b", "a: delta 0.25 | b: delta 0.25",
        bias=BEARISH, volatility=FLAT,
        gains="a fall to the put's strike, with rises above the call's insured",
        risks="a rise up to the call's strike; gains end at the put's",
    ),
    define(
        "covered_strangle", "covered strangle", "+100 shares | -1 put a | -1 call b", "a: delta 0.25 | b: delta 0.25",
        bias=BULLISH, volatility=SHORT,
        gains="time passing between the strikes", risks="a fall, on the shares and on the put together",
    ),
    define(
        "covered_straddle", "covered straddle", "+100 shares | -1 put a | -1 call a", "a: atm",
        bias=BULLISH, volatility=SHORT,
        gains="a price at or above the strike", risks="a fall, on the shares and on the put together",
    ),
    define(
        "conversion", "conversion", "+100 shares | +1 put a | -1 call a", "a: atm",
        bias=NO_VIEW, volatility=FLAT,
        gains="the strike being worth more than it cost to lock in",
        risks="early assignment, dividends and the rate; the price cancels out",
    ),
    define(
        "reversal", "reversal", "-100 shares | -1 put a | +1 call a", "a: atm",
        bias=NO_VIEW, volatility=FLAT, also=("reverse conversion",),
        gains="the strike costing less than was locked in",
        risks="early assignment, dividends and borrowing costs; the price cancels out",
    ),
    define(
        "synthetic_long_stock", "synthetic long stock", "+1 call a | -1 put a", "a: atm",
        bias=BULLISH, volatility=FLAT,
        gains="a rising price", risks="a falling price, as with shares",
    ),
    define(
        "synthetic_short_stock", "synthetic short stock", "-1 call a | +1 put a", "a: atm",
        bias=BEARISH, volatility=FLAT,
        gains="a falling price", risks="a rising price, without limit",
    ),
    define(
        "risk_reversal", "risk reversal", "-1 put a | +1 call b", "a: delta 0.25 | b: delta 0.25",
        bias=BULLISH, volatility=FLAT, also=("bullish risk reversal", "combo"),
        gains="a rise beyond the call's strike", risks="a fall below the put's strike",
    ),
    define(
        "bearish_risk_reversal", "bearish risk reversal", "+1 put a | -1 call b", "a: delta 0.25 | b: delta 0.25",
        bias=BEARISH, volatility=FLAT,
        gains="a fall below the put's strike", risks="a rise beyond the call's strike, without limit",
    ),
    define(
        "bullish_seagull", "bullish seagull", "-1 put a | +1 call b | -1 call c",
        "a: delta 0.20 | b: atm | c: delta 0.25",
        bias=BULLISH, volatility=FLAT, also=("seagull",),
        gains="a rise to the upper call, paid for by the put", risks="a fall below the put's strike",
    ),
    define(
        "bearish_seagull", "bearish seagull", "-1 put a | +1 put b | -1 call c",
        "a: delta 0.25 | b: atm | c: delta 0.20",
        bias=BEARISH, volatility=FLAT,
        gains="a fall to the lower put, paid for by the call", risks="a rise beyond the call, without limit",
    ),
)  # fmt: skip
