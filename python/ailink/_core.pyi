"""The data plane: a Rust extension. Calls that take longer than a few microseconds release the GIL."""

from os import PathLike

__version__: str

class Plane:
    """The running data plane: started once, published to, drained, stopped.

    Buffers are MessagePack; their shapes are the structs of `ailink.snapshot.model`.
    """

    def __new__(cls, options: bytes) -> Plane:
        """Opens spool and ledger, loads certificates. Raises ValueError on options that cannot be used."""

    def start(self) -> int:
        """Binds, starts the I/O threads and returns the TCP port (0: Unix socket only). Raises OSError."""

    def publish(self, snapshot: bytes) -> int:
        """Puts a snapshot in force on every thread; returns its version. ValueError: the old one stays."""

    def upsert_keys(self, rows: bytes) -> int:
        """Adds or replaces keys, all or none; effective when it returns. ValueError names key and field."""

    def remove_keys(self, digests: list[bytes]) -> int:
        """Removes keys by digest (32 bytes each); returns how many were there."""

    def apply_subjects(self, upserts: bytes, removals: bytes) -> int:
        """Adds or replaces subjects, then takes those named by kind and id away; all or none, effective
        when it returns. ValueError names subject and limit.
        """

    def subject_spend(self, kind: str, ids: list[str]) -> list[int]:
        """Spend of subjects in pico-USD, up to the last settled attempt. ValueError: no such kind."""

    def limit_usage(self, subjects: bytes) -> bytes:
        """For each (kind, id) of a list: its limits with what is `used` or reserved of each."""

    def lease_fd(self) -> int:
        """A non-blocking eventfd that is readable while the coordinator is to be asked. ValueError, as for
        all that follow: limits are not shared.
        """

    def lease_calls(self) -> bytes:
        """What it is to be asked for: a list of leases as they stand, with what is wanted of each."""

    def lease_report(self, which: str) -> bytes:
        """Leases as they stand: those "changed" since the last report, "all", or all "anew" for a coordinator
        that knows nothing.
        """

    def lease_grant(self, grants: bytes) -> None:
        """Puts its decisions in force and wakes the requests that wait for them."""

    def lease_shrink(self, leases: bytes) -> bytes:
        """Gives leases up, all but so much: a list of kind, id, serial, amount; how they stand then."""

    def lease_heard(self, online: bool, valid_s: float | None) -> None:
        """Whether the coordinator answers, and for how long leases hold from now on."""

    def push_credentials(self, rows: bytes) -> None:
        """Fills credential slots from a map of id to secret bytes."""

    def vault_forget(self) -> None:
        """Values behind tokens are asked for again."""

    def set_status(self, ready: bool, details: bytes) -> None:
        """What /health/ready says; `details` is a JSON object or empty."""

    def spend(self, key_ids: list[str]) -> list[int]:
        """Spend of keys in pico-USD, up to the last settled attempt."""

    def last_used(self, key_ids: list[str]) -> list[tuple[int, str | None]]:
        """Last use of keys, µs since 1970, and from which address; 0 and None: not since the start."""

    def take_key_uses(self) -> list[tuple[str, int, str]]:
        """Id, last use and its address of the keys that were used since this was asked last."""

    def metrics(self) -> bytes:
        """The plane's series in the Prometheus text format."""

    def deployment_health(self) -> bytes:
        """How each deployment is doing: a MessagePack list of maps."""

    def set_checking(self, checking: bool) -> None:
        """Whether this node checks the health of deployments; it does unless told otherwise."""

    def health_findings(self) -> bytes:
        """What its health checks have found: a MessagePack list of maps."""

    def take_findings(self, findings: bytes) -> None:
        """Takes over what another node has found. ValueError: it is no such list."""

    def routing_state(self) -> bytes:
        """What other nodes should know of deployments here: a MessagePack list of maps."""

    def take_routing_state(self, nodes: list[bytes]) -> None:
        """Takes in what all other nodes told. ValueError: one of them is no such list."""

    def give_weights(self, weights: bytes) -> None:
        """Weights for deployments: a map of `weights`, a list of id and weight, and `for_ms`. ValueError."""

    def explain(self, request_id: str) -> str | None:
        """The decision about a request as JSON, if it was kept."""

    def cache_report(self) -> bytes:
        """What the cache holds, and what it did by model, key and endpoint: a MessagePack map."""

    def cache_entry(self, key: str) -> bytes | None:
        """What is known of the entry under a key of 64 hex digits: a MessagePack map."""

    def cache_redis_info(self) -> bytes | None:
        """How the second tier does and what Redis says of itself: MessagePack; None without one. Blocks."""

    def cache_purge(self, purge: bytes) -> int:
        """Removes entries that fit all that is named; how many went. Raises ValueError."""

    def guard_report(self) -> bytes:
        """What guardrails found: per rule the counts of input, output and both in shadow; latest verdicts;
        rule, key and count of what shadow would have done."""

    def policy_report(self) -> bytes:
        """What policies did: per policy the counts of both modes; the latest verdicts; policy, key and
        count of what shadow would have done."""

    def policy_replay(self, trial: bytes, from_us: int, to_us: int) -> str:
        """What the policies of a `PolicyTrial` would do with the requests kept from a period: JSON list."""

    def approvals_changed(self, ids: list[str]) -> None:
        """Whoever waits for these approvals looks at them."""

    def batch_check(self, asked: bytes) -> bytes:
        """Whether a key may ask a model in a batch: a map of `error`, `model`, `deployments`. ValueError, as
        for all that follow: the bytes are no such question.
        """

    def batch_hold(self, setting: bytes) -> bytes:
        """Sets aside what a batch may cost, until it is settled or let go: a map of `error` and `short`."""

    def batch_release(self, id: str) -> None:
        """Gives back what a batch had set aside."""

    def batch_requests(self, lines: bytes) -> bytes:
        """Requests as a deployment takes them: a map of `error`, `operation`, `lines`."""

    def batch_settle(self, settling: bytes) -> bytes:
        """Answers in the caller's format, with rows in the ledger: a map of `error`, `answers`, `cost` and
        `spent`.
        """

    def provider_call(self, asked: bytes) -> bytes:
        """Asks a provider in the name of a deployment: a map of `status` and `body`. Blocks. RuntimeError:
        there is no answer.
        """

    def event_fd(self) -> int:
        """A non-blocking eventfd that is readable while events wait."""

    def take_events(self) -> bytes:
        """All waiting events: a MessagePack list of maps."""

    def set_tracing(self, share: int | None) -> None:
        """Traces so many of a million requests whose callers do not say whether; None: none at all."""

    def take_traces(self) -> bytes:
        """Traced requests and attempts since the last call, and how many were lost: a MessagePack list."""

    def reload_tls(self) -> None:
        """Reads the certificate files again. ValueError: the old pair stays."""

    def listen_fds(self) -> list[int]:
        """Descriptors of the listening sockets."""

    def flush(self, timeout_s: float) -> None:
        """Waits until everything settled so far is in the ledger's database. RuntimeError: not in time."""

    def ledger_query(self, sql: str, params: bytes, timeout_ms: int) -> bytes:
        """Read-only SQL; parameters and rows are MessagePack lists. TimeoutError, RuntimeError."""

    def ledger_forget(self, before_us: int, most: int) -> int:
        """Removes attempts that began before, the oldest first, so many at most; their sums stay. How many.
        RuntimeError.
        """

    def drain(self) -> None:
        """Graceful shutdown; returns when all is written. Blocks, without the GIL."""

    def stop(self) -> None:
        """Shutdown at once; what is in flight is settled as an estimate."""

class Mock:
    """The mock provider on a thread of its own."""

    def __new__(cls, options_json: str) -> Mock: ...
    def start(self) -> int:
        """Binds and serves; returns the TCP port."""

    def stop(self) -> None: ...

class Router:
    """A trained router. ValueError: the file is none, or damaged."""

    def __new__(cls, file: bytes) -> Router: ...
    def models(self) -> list[str]:
        """Its candidates."""

    def choose(self, dense: list[float], vector: list[int], seed: int) -> tuple[int, list[float]]:
        """The candidate that features go to, and what each is estimated to be worth. ValueError."""

class Window:
    """A sliding window of 60 slots over an injected clock."""

    def __new__(cls, limit: int, period_ns: int) -> Window: ...
    def try_take(self, now_ns: int, n: int) -> int | None:
        """None when admitted, else the nanoseconds after which a retry succeeds."""

def build_profile() -> str:
    """The cargo profile of this module: `release`, `fast`, `debug`."""

def stages() -> list[tuple[str, str]]:
    """The stages in the order they run, with the file each is found in."""

def endpoints() -> list[tuple[str, str, str, str]]:
    """The endpoint table: method, pattern, owner (`plane` or `shell`), operation."""

def operations() -> list[str]:
    """Names of the operations, by their code in the ledger."""

def outcomes() -> list[str]:
    """Names of the outcomes of an attempt, by their code in the ledger."""

def key_digest(pepper: bytes, key: str) -> bytes:
    """HMAC-SHA-256(pepper, SHA-256(key))."""

def aws_key_pair(pepper: bytes, key: bytes) -> tuple[str, str]:
    """The AWS access key pair beside a virtual key of this digest: access key id and secret access key."""

def token_digest(pepper: bytes, sha256_hex: str) -> bytes:
    """The same digest for a key of which only the SHA-256 is known."""

def aead_seal(key: bytes, nonce: bytes, plaintext: bytes, data: bytes) -> bytes:
    """AES-256-GCM: ciphertext and tag. ValueError for a key that is not 32 bytes or a nonce not 12."""

def aead_open(key: bytes, nonce: bytes, sealed: bytes, data: bytes) -> bytes | None:
    """The plaintext; None when the sealed bytes are damaged or belong to other data or another key."""

def condition_fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a condition given as JSON: where in it, and why."""

def boundary_fault(text: str) -> tuple[str, str] | None:
    """The same for a condition on whose a request is."""

def config_fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a Portkey config object given as JSON."""

def count_tokens(request: bytes, model: str) -> tuple[int, bool, str]:
    """Tokens of a request as JSON (`messages`, `tools`, `prompt`, `input` or `text`) for a model or an
    encoding: the count, whether it is exact, and the encoding (`estimate`: none that is known). The first
    call for an encoding loads its vocabulary. ValueError.
    """

def router_features(body: bytes) -> tuple[list[float], list[int], float]:
    """What a router sees of a request's body: dense features, vector, complexity. ValueError: no JSON."""

def router_complexity(dense: list[float]) -> float:
    """How much thought a prompt of such features asks for, 0 to 1. ValueError: another size."""

def noop() -> None:
    """Crosses the boundary and does nothing."""

def scan_chat(body: bytes) -> int:
    """Validates a JSON object and finds the routed members; returns the number of members. ValueError."""

def count_events(stream: bytes) -> int:
    """How many server-sent events a stream holds. ValueError when one is too long."""

def mock_main(args: list[str]) -> int:
    """Runs the `ailink-mock` command line; returns its exit status."""

def guard_fault(name: str, checks: str) -> str | None:
    """What is wrong with the checks (JSON) of a guardrail; None: nothing."""

def guard_reach() -> list[tuple[str, str, str]]:
    """What guardrails can look at, of requests and of answers, by operation."""

def guard_trial(trial: bytes) -> bytes:
    """Tries a `GuardTrial`: matches, action, text. ValueError: a rule cannot be compiled."""

def pattern_faults(patterns: list[str], ignore_case: bool) -> list[tuple[int, str]]:
    """What is wrong with regular expressions of guardrails: which, and why."""

def policy_fault(trial: bytes) -> str | None:
    """What is wrong with the policies of a `PolicyTrial`: which, where in it, and why."""

def policy_simulate(trial: bytes) -> str:
    """What the policies of a `PolicyTrial` would do with its request: JSON. ValueError."""

class PolicySet:
    """Policies compiled once, for measuring."""

    def __new__(cls, trial: bytes) -> PolicySet:
        """From a `PolicyTrial`. ValueError: a policy cannot be compiled."""

    def ask(self) -> int:
        """Asks all conditions about the request of the trial; returns how many hold."""

def question_difference(a: str, b: str) -> str | None:
    """What two questions differ in, so that one answer will not do for both: `number`, `negation`, …"""

class StaticModel:
    """Static embeddings in the layout of model2vec."""

    def __new__(cls, directory: PathLike[str]) -> StaticModel:
        """ValueError: which file is missing or not understood."""

    def embed(self, text: str) -> list[float]:
        """The vector of a text; zeros for one without a known token."""

class QuestionIndex:
    """The semantic cache's index, for measuring."""

    def __new__(cls) -> QuestionIndex: ...
    def put(self, number: int, text: str, values: list[float]) -> None:
        """Remembers a question. ValueError: its vector has no direction."""

    def look(self, model: StaticModel, text: str, threshold: float, top: int) -> list[tuple[str, float]]:
        """The nearest questions and their similarity, as a request's look finds them."""

class CacheProbe:
    """A lookup in the exact cache, for measuring."""

    def __new__(cls, body: bytes, entries: int) -> CacheProbe:
        """A store of `entries`, one of which answers this chat. ValueError: the body is no JSON object."""

    def look(self) -> bool:
        """The key of the chat, and whether there is an entry under it."""

class GuardSet:
    """Guardrails compiled once, for measuring."""

    def __new__(cls, trial: bytes) -> GuardSet:
        """From a `GuardTrial`. ValueError: a rule cannot be compiled."""

    def judge(self, body: bytes) -> int:
        """Searches a JSON body; returns how many rules found something."""

    def stream(self, packets: list[bytes]) -> int:
        """Passes the packets of an OpenAI stream through; returns how many bytes leave."""

def guard_validators() -> list[str]:
    """Names of the validators that patterns may ask for."""
