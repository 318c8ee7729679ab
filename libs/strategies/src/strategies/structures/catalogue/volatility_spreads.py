"""Calls and puts of one expiration together: straddles, strangles, iron structures, lizards."""

from __future__ import annotations

from strategies.structures.template import Bias, Structure, VolatilityView, define

BULLISH, BEARISH, NEUTRAL, EITHER_WAY = Bias.BULLISH, Bias.BEARISH, Bias.NEUTRAL, Bias.EITHER_WAY
LONG, SHORT = VolatilityView.LONG, VolatilityView.SHORT

_MOVE = "a large move either way"
_QUIET = "time passing without a large move"
_BETWEEN = "time passing while the price stays between the short strikes"

STRUCTURES: tuple[Structure, ...] = (
    define(
        "long_straddle", "long straddle", "+1 put a | +1 call a", "a: atm",
        bias=EITHER_WAY, volatility=LONG, gains=_MOVE, risks=_QUIET,
    ),
    define(
        "short_straddle", "short straddle", "-1 put a | -1 call a", "a: atm",
        bias=NEUTRAL, volatility=SHORT,
        gains="time passing near the strike", risks="a large move either way, upwards without limit",
    ),
    define(
        "long_strangle", "long strangle", "+1 put a | +1 call b", "a: delta 0.25 | b: delta 0.25",
        bias=EITHER_WAY, volatility=LONG, gains=_MOVE, risks=_QUIET,
    ),
    define(
        "short_strangle", "short strangle", "-1 put a | -1 call b", "a: delta 0.16 | b: delta 0.16",
        bias=NEUTRAL, volatility=SHORT,
        gains=_BETWEEN, risks="a large move either way, upwards without limit",
    ),
    define(
        "long_guts", "long guts", "+1 call a | +1 put b", "a: delta 0.65 | b: delta 0.65",
        bias=EITHER_WAY, volatility=LONG, gains=_MOVE, risks=_QUIET,
    ),
    define(
        "short_guts", "short guts", "-1 call a | -1 put b", "a: delta 0.65 | b: delta 0.65",
        bias=NEUTRAL, volatility=SHORT,
        gains="time passing between the strikes", risks="a large move either way, upwards without limit",
    ),
    define(
        "strap", "strap", "+1 put a | +2 call a", "a: atm",
        bias=BULLISH, volatility=LONG,
        gains="a large move, twice as much upwards", risks=_QUIET,
    ),
    define(
        "strip", "strip", "+2 put a | +1 call a", "a: atm",
        bias=BEARISH, volatility=LONG,
        gains="a large move, twice as much downwards", risks=_QUIET,
    ),
    define(
        "iron_condor", "iron condor", "+1 put a | -1 put b | -1 call c | +1 call d",
        "b: delta 0.20 | c: delta 0.20 | a: b - 1 width | d: c + 1 width",
        bias=NEUTRAL, volatility=SHORT, gains=_BETWEEN, risks="a move beyond either short strike",
    ),
    define(
        "iron_butterfly", "iron butterfly", "+1 put a | -1 put b | -1 call b | +1 call c",
        "b: atm | a: b - 2 width | c: b + 2 width",
        bias=NEUTRAL, volatility=SHORT, also=("iron fly",),
        gains="time passing near the short strike", risks="a move to either long strike",
    ),
    define(
        "reverse_iron_condor", "reverse iron condor", "-1 put a | +1 put b | +1 call c | -1 call d",
        "b: delta 0.30 | c: delta 0.30 | a: b - 1 width | d: c + 1 width",
        bias=EITHER_WAY, volatility=LONG, also=("long iron condor",),
        gains="a move beyond either long strike", risks="the price staying between the long strikes",
    ),
    define(
        "reverse_iron_butterfly", "reverse iron butterfly", "-1 put a | +1 put b | +1 call b | -1 call c",
        "b: atm | a: b - 2 width | c: b + 2 width",
        bias=EITHER_WAY, volatility=LONG, also=("long iron butterfly", "reverse iron fly"),
        gains="a move to either short strike", risks="the price staying near the long strike",
    ),
    define(
        "jade_lizard", "jade lizard", "-1 put a | -1 call b | +1 call c",
        "a: delta 0.25 | b: delta 0.25 | c: b + 1 width",
        bias=BULLISH, volatility=SHORT,
        gains=_BETWEEN, risks="a fall below the put; none upwards when the credit covers the call width",
    ),
    define(
        "twisted_sister", "twisted sister", "+1 put a | -1 put b | -1 call c",
        "b: delta 0.25 | c: delta 0.25 | a: b - 1 width",
        bias=BEARISH, volatility=SHORT, also=("reverse jade lizard",),
        gains=_BETWEEN,
        risks="a rise beyond the call without limit; none downwards when the credit covers the put width",
    ),
    define(
        "big_lizard", "big lizard", "-1 put a | -1 call a | +1 call b", "a: atm | b: a + 2 width",
        bias=BULLISH, volatility=SHORT,
        gains="time passing near the short strike",
        risks="a fall below it; none upwards when the credit covers the call width",
    ),
    define(
        "reverse_big_lizard", "reverse big lizard", "+1 put a | -1 put b | -1 call b", "b: atm | a: b - 2 width",
        bias=BEARISH, volatility=SHORT,
        gains="time passing near the short strike",
        risks="a rise beyond it without limit; none downwards when the credit covers the put width",
    ),
)  # fmt: skip
