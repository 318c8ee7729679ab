"""The outcome table: what an answer proves; how long a retry waits."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.outcomes import verdict
from executor.domain.pricing import retry_delay
from schemas.orders import IntentState
from tastyclient import BrokerError, NotSentError
from tastyclient.http import _envelope

JSON = '{"error": {"code": "x", "message": "y"}}'


def judged(status: int, body: str) -> tuple[str, bool]:
    """As the client reads an answer and the executor judges it."""
    with pytest.raises(BrokerError) as caught:
        _envelope("POST", "/orders", httpx.Response(status, text=body))
    found = verdict(caught.value.outcome.value, caught.value.status)
    return found.state.value, found.retry


@pytest.mark.parametrize("status", [400, 403, 404, 415, 422])
def test_a_refusal_in_the_broker_s_own_words_is_final(status: int) -> None:
    assert judged(status, JSON) == ("rejected", False)


@pytest.mark.parametrize("status", [400, 403, 404, 415, 422])
def test_a_refusal_without_the_broker_s_envelope_proves_nothing(status: int) -> None:
    """It may come from whatever stands before the broker."""
    assert judged(status, "<html>") == ("unknown", False)


@pytest.mark.parametrize("status", [302, 408, 409, 500, 502, 503, 504])
def test_redirects_time_outs_conflicts_and_faults_of_the_server_prove_nothing(status: int) -> None:
    assert judged(status, JSON) == ("unknown", False)


@pytest.mark.parametrize("status", [200, 201])
def test_a_success_that_cannot_be_read_proves_nothing(status: int) -> None:
    assert judged(status, "<html>") == ("unknown", False)


def test_a_token_that_ended_on_the_way_was_refused_and_says_nothing_against_the_order() -> None:
    assert judged(401, JSON) == ("rejected", True)


def test_too_many_requests_are_looked_up_before_they_count_as_refused() -> None:
    found = verdict("rejected", 429)
    assert (found.state, found.retry, found.throttled) == (IntentState.UNKNOWN, False, True)


def test_a_connection_that_failed_before_the_first_byte_may_be_tried_again() -> None:
    assert verdict(NotSentError.outcome.value, None).retry
    assert verdict(NotSentError.outcome.value, None).state is IntentState.NOT_SENT


@given(st.sampled_from(["rejected", "unknown", "not_sent"]), st.one_of(st.none(), st.integers(100, 599)))
def test_nothing_ambiguous_is_ever_tried_again(outcome: str, status: int | None) -> None:
    """A retry needs proof: the intent it follows has ended."""
    found = verdict(outcome, status)
    assert not found.retry or found.state in (IntentState.NOT_SENT, IntentState.REJECTED)
    assert not found.throttled or not found.retry


@given(st.integers(1, 10), st.floats(0, 0.999))
def test_retries_back_off_with_jitter(attempt: int, uniform: float) -> None:
    """Doubling from half a second to at most eight, at least half of it each."""
    longest = min(8.0, 0.5 * 2 ** (attempt - 1))
    assert longest / 2 <= retry_delay(attempt, 0.5, 8.0, uniform) <= longest
