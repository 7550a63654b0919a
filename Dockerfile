# Build: the wheel with the release profile (fat LTO). Identities at clouds need more: `--build-arg EXTRAS=postgres,redis,aws,gcp,azure`.
ARG EXTRAS=postgres,redis
FROM rust:1-slim-bookworm AS rust
FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV PATH=/usr/local/cargo/bin:$PATH RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo
WORKDIR /src
COPY . .
ARG EXTRAS
RUN pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels ".[$EXTRAS]"

# Run: Python, the wheels, nobody's shell.
FROM python:3.11-slim-bookworm
ARG EXTRAS
# The data directory is there before a volume is mounted on it, so that a new volume belongs to this user alone.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "ailink[$EXTRAS]" \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/ailink --create-home ailink \
 && install -d -o ailink -g ailink -m 700 /var/lib/ailink/.ailink
ENV AILINK_HOST=0.0.0.0
USER ailink
WORKDIR /var/lib/ailink
VOLUME /var/lib/ailink
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4000/health/live', timeout=2)"]
# A bind to other addresses than loopback needs an admin credential: pass AILINK_MASTER_KEY or mount an ailink.yaml here.
CMD ["ailink", "serve"]
