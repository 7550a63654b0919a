"""nginx: as the plain reverse proxy that every figure is a ratio to, and as the cheapest server of a canned
reply.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benches.gateway.machine import GATEWAY_CORE, LOAD_CORE
from benches.gateway.process import Pinned, StartFailure, find_tool, free_port
from benches.gateway.system import Place, Route, Target

_FRAME = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    server_tokens off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_buffer_size 64k;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""

_PROXY = """
    upstream canned {{ server {canned}; keepalive 2048; keepalive_requests 1000000000; keepalive_timeout 600s;
    }} upstream mock {{ server {mock}; keepalive 2048; keepalive_requests 1000000000; keepalive_timeout 600s;
    }} server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://canned; }}
        location ~ ^/mock: {{ proxy_pass http://mock; proxy_buffering off; proxy_read_timeout 300s; }}
    }}
"""

_CANNED = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/json;
        location / {{ return 200 '{reply}'; }}
    }}
"""


def _start(folder: Path, name: str, core: int, port: int, servers: str) -> Pinned:
    command = find_tool("nginx")
    if command is None:
        raise StartFailure("nginx is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    config = folder / "nginx.conf"
    config.write_text(_FRAME.format(folder=folder, servers=servers))
    process = Pinned(
        [command, "-p", folder, "-c", config, "-e", folder / "error.log"], core=core, folder=folder, name=name
    )
    process.wait_for_port(port)
    return process


class Canned:
    """The upstream that answers every request with the same JSON; on the load core."""

    def __init__(self, folder: Path, reply: bytes) -> None:
        self._port = free_port()
        servers = _CANNED.format(port=self._port, reply=reply.decode().replace("'", "\\'"))
        self._process = _start(folder, "canned", LOAD_CORE, self._port, servers)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End it."""
        self._process.stop()


class Nginx:
    """The plain reverse proxy: keep-alive on both sides, no log, streams unbuffered."""

    name = "nginx"
    configuration = "reverse proxy, keep-alive, no access log, proxy_buffering off for streams"

    def __init__(self) -> None:
        self._port = 0
        self._process: Pinned | None = None

    @property
    def version(self) -> str:
        """As `nginx -v` tells."""
        done = subprocess.run(
            [find_tool("nginx") or "nginx", "-v"], capture_output=True, text=True, check=False
        )
        return done.stderr.rpartition("/")[2].strip()

    def start(self, place: Place) -> None:
        """See `System`."""
        self._port = free_port()
        canned, mock = (url.removeprefix("http://") for url in (place.upstreams.canned, place.upstreams.mock))
        servers = _PROXY.format(port=self._port, canned=canned, mock=mock)
        self._scripts = place.scripts
        self._process = _start(place.folder, self.name, GATEWAY_CORE, self._port, servers)

    def stop(self) -> None:
        """See `System`."""
        if self._process:
            self._process.stop()

    def pids(self) -> Sequence[int]:
        """See `System`."""
        return [self._process.pid] if self._process else []

    def target(self, route: Route, script: str = "") -> Target | None:
        """See `System`."""
        prefix = {Route.CANNED: "", Route.SCRIPTED: f"/mock:{self._scripts.get(script, '')}"}.get(route)
        if prefix is None:
            return None
        headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
        return Target(url=f"http://127.0.0.1:{self._port}{prefix}/v1/chat/completions", headers=headers)
