"""LiteLLM's `router_settings` (and what `litellm_settings` says about the same) → our `routing`.

Facts: https://docs.litellm.ai/docs/routing and https://docs.litellm.ai/docs/proxy/reliability.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from ailink.config import yaml12
from ailink.config.litellm_models import Notes, quoted, scalar_text, seconds
from ailink.config.problems import Path, Place
from ailink.config.yaml12 import Mapping as MappingNode
from ailink.config.yaml12 import Node, Scalar

STRATEGIES: Final = {
    "simple-shuffle": "shuffle",
    "least-busy": "least_busy",
    "latency-based-routing": "lowest_latency",
    "cost-based-routing": "lowest_cost",
    "usage-based-routing": "usage",
    "usage-based-routing-v2": "usage",
}
_RETRIES: Final = {
    "BadRequestErrorRetries": ("bad_request",),
    "AuthenticationErrorRetries": ("authentication",),
    "TimeoutErrorRetries": ("timeout",),
    "RateLimitErrorRetries": ("rate_limit",),
    "ContentPolicyViolationErrorRetries": ("content_policy",),
    "InternalServerErrorRetries": ("server_error", "connection"),
    "ServiceUnavailableErrorRetries": ("server_error", "connection"),
    "NotFoundErrorRetries": ("not_found",),
}
_ALLOWED: Final = {
    "AuthenticationErrorAllowedFails": "authentication",
    "TimeoutErrorAllowedFails": "timeout",
    "RateLimitErrorAllowedFails": "rate_limit",
    "InternalServerErrorAllowedFails": "server_error",
}
_NOBODYS_FAULT: Final = frozenset({"BadRequestErrorAllowedFails", "ContentPolicyViolationErrorAllowedFails"})
"""What a caller did never leaves a deployment out."""
_DEFAULT_RETRIES: Final = "DefaultRetries"
_CHECKED_ANYWAY: Final = frozenset({"responses_api_deployment_check", "router_budget_limiting"})
"""`optional_pre_call_checks` that nobody has to ask for here."""
_TRUE: Final = {"true", "True", "TRUE"}
_FALSE: Final = {"false", "False", "FALSE"}
_NOTHING: Final = {"", "null", "~"}
_MOST: Final = 10


class RouterSettings:
    """Gathers what concerns routing; the rest is the caller's."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._routing: dict[str, Node] = {}
        self._breaker: dict[str, Node] = {}
        self._groups: dict[str, Node] = {}
        self.budgets: list[Node] = []
        """Of providers, as items of our `budgets.rules`."""

    def take(self, key: str, node: Node, path: Path, place: Place) -> bool:
        """Reads one setting; False when it is none of these."""
        text = scalar_text(node)
        if key == "routing_strategy" and text in STRATEGIES:
            self._routing["strategy"] = quoted(node.place, STRATEGIES[text])
        elif key == "routing_strategy_args":
            self._arguments(node, path)
        elif key == "retry_policy":
            self._routing["retry"] = self._policy(node, path)
        elif key == "model_group_retry_policy" and isinstance(node, MappingNode):
            for group, policy in node.entries.items():
                self._groups[group] = self._policy(policy, (*path, group))
        elif key == "allowed_fails":
            # Its rule alone counts then, and only within the time of a cooldown.
            off = _plain(place, "0")
            self._breaker |= {"allowed_fails": node, "consecutive": off, "percent": off}
            self._breaker.setdefault("window", _plain(place, "5s"))
        elif key == "allowed_fails_policy":
            self._breaker["allowed_fails_of"] = self._allowed(node, path)
            self._breaker.setdefault("window", _plain(place, "5s"))
        elif key == "enable_pre_call_checks" and text in _TRUE | _FALSE:
            self._routing["too_long"] = quoted(place, "refuse" if text in _TRUE else "ask")
        elif key == "cooldown_time":
            self._cooldown(node, path)
        elif key == "disable_cooldowns" and text in _TRUE | _FALSE:
            if text in _TRUE:
                self._breaker["open"] = _plain(place, "0s")
        elif key == "provider_budget_config" and isinstance(node, MappingNode):
            for provider, budget in node.entries.items():
                self._budget(provider, budget, (*path, provider))
        elif key == "optional_pre_call_checks" and isinstance(node, yaml12.Sequence):
            for index, check in enumerate(node.items):
                if scalar_text(check) not in _CHECKED_ANYWAY:
                    text = f"`{scalar_text(check)}` is not understood in this version and has no effect"
                    self._notes.add((*path, index), check.place, text)
        elif key == "tag_filtering_match_any" and text in _TRUE | _FALSE:
            self._routing["tags"] = quoted(place, "any" if text in _TRUE else "all")
        else:
            # What asks for nothing but the default.
            return (
                (key in {"enable_tag_filtering", "enable_weighted_failover"} and text in _TRUE)
                or (key == "retry_after" and text in {"0", *_NOTHING})
                or (key == "max_fallbacks" and text in {"5", *_NOTHING})
                or text in _NOTHING
            )
        return True

    def routing(self, place: Place) -> MappingNode | None:
        """Our section `routing`; None when nothing was said."""
        entries = dict(self._routing)
        if self._breaker:
            entries["breaker"] = _mapping(place, self._breaker)
        return _mapping(place, entries) if entries else None

    def of_group(self, name: str) -> dict[str, Node]:
        """What the section `routing` of one model says."""
        policy = self._groups.get(name)
        return {} if policy is None else {"retry": policy}

    def _policy(self, node: Node, path: Path) -> MappingNode:
        entries: dict[str, Node] = {}
        default: Node | None = None
        for name, value in node.entries.items() if isinstance(node, MappingNode) else ():
            text = scalar_text(value) or ""
            if name not in {*_RETRIES, _DEFAULT_RETRIES} or not text.isdecimal() or len(text) > 9:
                self._notes.unknown((*path, name), value.place)
                continue
            if int(text) > _MOST:
                self._notes.add((*path, name), value.place, f"more than {_MOST} retries are not made")
            times = _plain(value.place, str(min(int(text), _MOST)))
            if name == _DEFAULT_RETRIES:
                default = times
            for own in _RETRIES.get(name, ()):
                # Two of theirs are one of ours: the higher counts.
                known = scalar_text(entries[own]) if own in entries else None
                entries[own] = max(times, _plain(value.place, known or "0"), key=lambda one: int(one.text))
        if default is not None:
            classes = {own for named in _RETRIES.values() for own in named}
            entries |= dict.fromkeys(sorted(classes - entries.keys()), default)
        return _mapping(node.place, entries)

    def _allowed(self, node: Node, path: Path) -> MappingNode:
        entries: dict[str, Node] = {}
        for name, value in node.entries.items() if isinstance(node, MappingNode) else ():
            text = scalar_text(value) or ""
            if name in _NOBODYS_FAULT:
                self._notes.add((*path, name), value.place, "what a caller did never leaves a deployment out")
            elif name in _ALLOWED and text.isdecimal() and len(text) < 7:
                entries[_ALLOWED[name]] = _plain(value.place, text)
            else:
                self._notes.unknown((*path, name), value.place)
        return _mapping(node.place, entries)

    def _budget(self, provider: str, node: Node, path: Path) -> None:
        """`{budget_limit, time_period}`, or `{max_budget, budget_duration}`."""
        given = dict(node.entries) if isinstance(node, MappingNode) else {}
        usd = given.pop("budget_limit", None) or given.pop("max_budget", None)
        period = given.pop("time_period", None) or given.pop("budget_duration", None)
        if usd is None or period is None or scalar_text(period) is None:
            self._notes.unknown(path, node.place)
            return
        for key, value in given.items():
            self._notes.unknown((*path, key), value.place)
        on = quoted(node.place, f"provider:{provider}")
        per = quoted(period.place, scalar_text(period) or "")
        self.budgets.append(_mapping(node.place, {"on": on, "usd": usd, "per": per}))

    def _cooldown(self, node: Node, path: Path) -> None:
        if scalar_text(node) in {"0", "0.0"}:
            self._breaker["open"] = _plain(node.place, "0s")
        elif (found := seconds(node, path, self._notes)) is not None:
            self._breaker |= {"open": found, "open_max": found, "window": found}

    def _arguments(self, node: Node, path: Path) -> None:
        for name, value in node.entries.items() if isinstance(node, MappingNode) else ():
            number = yaml12.resolve(value.text) if isinstance(value, Scalar) else None
            if (
                name == "lowest_latency_buffer"
                and isinstance(number, int | Decimal)
                and not isinstance(number, bool)
                and 0 <= number <= _MOST
            ):
                self._routing["slack"] = _plain(value.place, str(int(number * 100)))
            else:
                self._notes.unknown((*path, name), value.place)


def _plain(place: Place, text: str) -> Scalar:
    return Scalar(place=place, text=text, plain=True)


def _mapping(place: Place, entries: Mapping[str, Node]) -> MappingNode:
    return MappingNode(
        place=place, entries=dict(entries), keys={key: node.place for key, node in entries.items()}
    )
