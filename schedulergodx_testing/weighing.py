"""How often each rule of a state machine comes: by group, or one by one.

Hypothesis takes every rule as often as every other. A rule under further names is taken more often, one whose
precondition does not hold is left out; nothing else of Hypothesis is used for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hypothesis.stateful import precondition

from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS = ("launches", "time", "order", "service", "storage", "broker")
_GROUP = "_schedulergodx_group"
_ALIAS = "again {}: {}"  # no identifier, so it is in nobody's way
_RULE = "hypothesis_stateful_rule"


def of(group: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a rule into a group. Written above `@rule(...)`."""

    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        grouped: Callable[..., Any] = precondition(
            lambda machine: weight_in(machine.weights, function.__name__, group) > 0
        )(function)
        setattr(grouped, _GROUP, group)
        return grouped

    return put


def weight_in(weights: Mapping[str, int], name: str, group: str) -> int:
    """Return how often a rule that the library brings comes."""
    return weights.get(name, weights.get(group, 1))


def weigh(machine: Any) -> None:
    """Have the rules of a machine's class come as often as its `weights` say. Call it once for each class.

    Raises:
        HarnessError: a weight is for no rule and no group, or is no whole number from 0 on; or `weights` is no mapping.
    """
    weights: object = machine.weights
    if not isinstance(weights, Mapping):
        raise HarnessError(
            f"weights of {machine.__qualname__} must be a mapping from rules or groups to whole numbers, e.g. "
            f'{{"broker": 0}}; got {weights!r:.40}'
        )
    names = {name: getattr(machine, name, None) for name in dir(machine)}
    for alias in [name for name in names if name.startswith("again ")]:
        setattr(machine, alias, None)  # of the class above, which has other weights
        del names[alias]
    rules = {name: function for name, function in names.items() if hasattr(function, _RULE)}
    _refuse_unknown(machine.weights, rules)
    for name, function in rules.items():
        for number in range(2, _weight(machine, name, function, rules) + 1):
            setattr(machine, _ALIAS.format(number, name), function)


def _weight(machine: Any, name: str, function: Any, rules: Mapping[str, Any]) -> int:
    weights: Mapping[str, int] = machine.weights
    group = getattr(function, _GROUP, "")
    if group or name in weights:
        return weight_in(weights, name, group)
    shipped = {name: getattr(function, _GROUP) for name, function in rules.items() if hasattr(function, _GROUP)}
    together = sum(weight_in(weights, *one) for one in shipped.items())
    return max(1, round(together / (len(rules) - len(shipped))))


def _refuse_unknown(weights: Mapping[str, int], rules: Mapping[str, Any]) -> None:
    for name, weight in weights.items():
        if name not in rules and name not in GROUPS:
            raise HarnessError(
                f"weights: {name!r} is no rule of this machine, and no group of rules. There are the groups "
                f"{', '.join(GROUPS)}, and the rules {', '.join(sorted(rules))}"
            )
        is_shipped = name in GROUPS or hasattr(rules[name], _GROUP)
        given: object = weight
        if isinstance(given, bool) or not isinstance(given, int) or given < (0 if is_shipped else 1):
            least = "0 (never)" if is_shipped else "1 (it is a rule of your own: for never, leave it out)"
            raise HarnessError(f"weights: {name!r} needs a whole number from {least} on; got {weight!r:.40}")
