"""Pytest plugin: real servers started by the tests themselves, a clock that can be set, polling instead of sleeping."""

from testkit.clock import FakeClock
from testkit.eventually import eventually
from testkit.mutations import Mutator, fuzz_rounds
from testkit.relay import Relay, relayed

__all__ = ["FakeClock", "Mutator", "Relay", "eventually", "fuzz_rounds", "relayed"]
