"""The strategies give what they say: what is accepted is accepted, what is broken is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from schedulergodx import MessageRejected, config
from schedulergodx.utils.message import envelope, payload
from schedulergodx_testing import strategies


@given(strategies.message_ids())
def test_ids_are_ids(message_id: str) -> None:
    """A launch can have them."""
    assert envelope.is_message_id(message_id)


@given(strategies.client_names())
def test_names_are_names(name: str) -> None:
    """A client can have them."""
    assert config.printable_name("name", name) == name


@given(strategies.delays(), strategies.lifetimes())
def test_spans_are_within_their_range(delay: float | None, lifetime: float | None) -> None:
    """Delays from 0, lifetimes above it."""
    assert config.delay(delay) == delay
    assert config.lifetime("lifetime", lifetime) == lifetime


@given(strategies.results())
def test_results_are_json_data(value: Any) -> None:
    """They come back as they were."""
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.slow
@given(strategies.arguments())
def test_arguments_travel(arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    """They come out of a pickle equal."""
    args, kwargs = arguments
    packed = payload.pack(print, args, kwargs, by="reference")
    assert payload.loads(packed.arguments) == (args, kwargs)


@given(strategies.envelopes())
def test_envelopes_are_read_as_they_were_built(message: envelope.Envelope) -> None:
    """Field by field."""
    assert envelope.parse(envelope.build(message), bytes_max=10**6) == message


@given(strategies.broken_envelopes())
def test_broken_envelopes_are_refused(body: bytes) -> None:
    """By a reason, and by no other error."""
    with pytest.raises(MessageRejected):
        envelope.parse(body, bytes_max=10**6)


@given(strategies.reports())
def test_reports_are_ends(report: Any) -> None:
    """With a result, or a failure."""
    assert (report.result is not None) == (report.code.value == "OK")
