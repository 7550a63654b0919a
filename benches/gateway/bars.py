"""The limits. A change of one is a change of what the product promises."""

from dataclasses import dataclass

from benches.gateway.record import Record, Spread

GATE_FACTOR = (
    1.5  # what the short run in CI allows beyond a bar: machines are noisy, regressions are not subtle
)

NGINX, HYPER, STATIC = "nginx", "hyper", "static"
AILINK, CACHED, GROWN, LIMITED = "ailink", "ailink-cache", "ailink-grown", "ailink-limits"
# Streams of another format than the client's: chat of a messages provider, messages of a chat provider, the
# first with guardrails that look at what comes out.
TRANSLATED, TRANSLATED_BACK, GUARDED = "ailink-translated", "ailink-translated-back", "ailink-guarded"

# Single measurements, and the unit of each metric that has one; ratios have none.
FIGURES = {"per_request_kib", "idle_mib", "cold_start_s"}
UNITS = {
    "cpu": "µs",
    "added_p50_us": "µs",
    "added_p99_us": "µs",
    "per_request_kib": "KiB",
    "idle_mib": "MiB",
    "cold_start_s": "s",
}


@dataclass(frozen=True)
class Bar:
    """`metric` in a contest must be at most `limit`: times or plus the yardstick's, or as it is."""

    workload: str
    variant: str
    says: str
    metric: str
    limit: float
    system: str = AILINK
    times: str = ""  # yardstick of a ratio
    plus: str = ""  # yardstick of a difference

    def measured(self, record: Record) -> Spread | None:
        """The figure that the limit speaks of; None if the run has none."""
        contest = (self.workload, self.variant, self.system)
        if self.metric in FIGURES:
            value = record.figure(self.workload, self.system, self.metric)
            return None if value is None else Spread(value, value, value)
        if self.times:
            return record.ratio(*contest, self.times, self.metric)
        if self.plus:
            return record.excess(*contest, self.plus, self.metric)
        return record.spread(*contest, self.metric)

    def allowed(self, short: bool) -> float:
        """The limit, or what a short run lets pass."""
        return self.limit * GATE_FACTOR if short else self.limit

    @property
    def limit_text(self) -> str:
        """The limit as a reader sees it."""
        unit = UNITS.get(self.metric, "")
        if self.times:
            return f"≤ {self.limit:.2f} × {self.times}"
        return f"≤ {self.plus} + {self.limit:g} {unit}" if self.plus else f"≤ {self.limit:g} {unit}"


BARS = (
    Bar("W1", "", "CPU per request", "cpu", 2.0, times=NGINX),
    Bar("W1", "", "CPU per request without the ledger's drain", "cpu_without_ledger", 1.35, times=HYPER),
    Bar("W1l", "", "CPU per request with 5 limits and 3 budgets", "cpu", 1.5, system=LIMITED, plus=AILINK),
    Bar("W2", "", "CPU per request", "cpu", 2.0, times=NGINX),
    Bar("W3", "", "CPU per event", "cpu", 1.45, times=NGINX),
    Bar("W3", "", "CPU per event", "cpu", 1.2, times=HYPER),
    Bar("W3", "", "added time per event, p99", "added_p99_us", 300, plus=NGINX),
    Bar("W3t", "", "CPU per event, chat of messages", "cpu", 2.0, system=TRANSLATED, times=AILINK),
    Bar("W3t", "", "CPU per event, messages of chat", "cpu", 2.0, system=TRANSLATED_BACK, times=AILINK),
    Bar("W3t", "", "CPU per event, translated and guarded", "cpu", 2.0, system=GUARDED, times=AILINK),
    Bar("W4", "c=1000", "CPU per request", "cpu", 1.15, times=HYPER),
    Bar("W4", "", "memory per request in flight", "per_request_kib", 52),
    Bar("W4", "", "memory when idle", "idle_mib", 90),
    Bar("W5", "", "added time, p50", "added_p50_us", 60, plus=NGINX),
    Bar("W5", "", "added time, p99", "added_p99_us", 300, plus=NGINX),
    Bar("W6", "", "CPU per hit", "cpu", 1.0, system=CACHED, times=NGINX),
    Bar("W6", "stream", "CPU per replayed stream", "cpu", 1.5, system=CACHED, times=NGINX),
    Bar("W8", "429", "CPU per refusal over the rate limit", "cpu", 1.3, times=STATIC),
    Bar("W8", "401", "CPU per refusal of an unknown key", "cpu", 1.3, times=STATIC),
    Bar("W10", "", "cold start to the first answer", "cold_start_s", 1.0),
    Bar(
        "W12", "", "CPU per request with 100,000 keys and 500 models", "cpu", 1.1, system=GROWN, times=AILINK
    ),
)
