"""Several Redis servers as one: a cluster, and a master with a replica that sentinels watch. Real processes,
set up by their own commands; `fail_over` kills a master and waits until another one is.
"""

import contextlib
from pathlib import Path
from typing import Any, Self

import redis
from tests.harness.process import Child, free_port
from tests.harness.servers import RedisServer, accepts, program
from tests.harness.until import until

SLOTS = 16_384
MASTER = "main"
NODE_TIMEOUT_MS = 500


def _client(port: int) -> Any:
    return redis.Redis(port=port, socket_timeout=2, decode_responses=True)


class RedisSet:
    """Closed with all its servers."""

    AT_ONCE = ("--repl-diskless-sync-delay", "0")
    """A replica is served without waiting for others."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()


class RedisCluster(RedisSet):
    """Three masters, and a replica of the second, which holds the keys of leases. `url` names all of them."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        # The slots of others are served while those of one are not.
        options += ("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0")
        options += self.AT_ONCE
        self.servers: list[RedisServer] = []
        for number in range(4):
            # The port of the bus would else be ten thousand beyond, and may be taken.
            bus = ("--cluster-port", str(free_port()))
            server = RedisServer(directory / f"node{number}", *options, *bus)
            self.servers.append(self._ends.enter_context(server))
        self.masters = self.servers[:3]
        self._join([int(server.child.arguments[-1]) for server in self.servers])
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        self.url = f"redis+cluster://{hosts}"

    def _join(self, buses: list[int]) -> None:
        clients = [_client(server.port) for server in self.servers]
        for number, client in enumerate(clients[:3]):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server, bus in zip(self.servers[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        until(lambda: all(len(self._nodes(client)) == 4 for client in clients), "all nodes know each other")
        followed = clients[1].execute_command("CLUSTER", "MYID")
        clients[3].execute_command("CLUSTER", "REPLICATE", followed)
        until(lambda: clients[3].info("replication")["master_link_status"] == "up", "the replica follows")
        until(lambda: all(self._state(client) == "ok" for client in clients), "the cluster is ready")
        for client in clients:
            client.close()

    @staticmethod
    def _nodes(client: Any) -> Any:
        return client.execute_command("CLUSTER NODES")

    @staticmethod
    def _state(client: Any) -> str:
        return str(client.execute_command("CLUSTER INFO")["cluster_state"])

    def fail_over(self) -> None:
        """Ends the second master; its replica takes its place."""
        self.masters[1].kill()
        client = _client(self.servers[3].port)
        until(lambda: client.info("replication")["role"] == "master", "the replica is a master", 15)
        client.close()


class RedisSentinels(RedisSet):
    """A master, a replica, and three sentinels. `url` names the sentinels."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.master = self._ends.enter_context(RedisServer(directory / "master", *self.AT_ONCE))
        follows = ("--replicaof", f"127.0.0.1 {self.master.port}", *self.AT_ONCE)
        self.replica = self._ends.enter_context(RedisServer(directory / "replica", *follows))
        self.ports = []
        for number in range(3):
            place = directory / f"sentinel{number}"
            place.mkdir(parents=True)
            port = free_port()
            file = place / "sentinel.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {self.master.port} 2\n"
                f"sentinel down-after-milliseconds {MASTER} 300\n"
                f"sentinel failover-timeout {MASTER} 2000\n"
            )
            arguments = [str(file), "--sentinel"]
            child = Child("sentinel", arguments, place, {}, program=program("redis-server"))
            self._ends.callback(child.kill)
            child.start()
            child.alive_until(lambda port=port: accepts(port), "a sentinel accepts")
            self.ports.append(port)
        until(self._watched, "the sentinels know each other and the replica")
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"redis+sentinel://{hosts}/{MASTER}/0"

    def _watched(self) -> bool:
        found = [self._ask(port, "MASTER") for port in self.ports]
        return (
            all(
                (int(told["num-slaves"]), int(told["num-other-sentinels"])) == (1, 2)
                and "down" not in told["flags"]
                for told in found
            )
            and self._linked()
        )

    def _linked(self) -> bool:
        client = _client(self.replica.port)
        linked = client.info("replication")["master_link_status"] == "up"
        client.close()
        return bool(linked)

    def _ask(self, port: int, what: str) -> dict[str, str]:
        client = _client(port)
        told = client.execute_command("SENTINEL", what, MASTER)
        client.close()
        return told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))

    def named(self) -> int:
        """The port of the master that the first sentinel names."""
        client = _client(self.ports[0])
        _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        client.close()
        return int(port)

    def fail_over(self) -> None:
        """Ends the master; the replica takes its place."""
        self.master.kill()
        client = _client(self.replica.port)
        promoted = lambda: client.info("replication")["role"] == "master"  # noqa: E731
        until(promoted, "the replica is the master", 20)
        client.close()
        until(lambda: self.named() == self.replica.port, "the sentinels name it")
