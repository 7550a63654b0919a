"""`ailink cache`: what the cache of a running gateway saved, and how entries are removed."""

from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.cache_evaluate import evaluate
from ailink.cli.gateway import Gateway, asking, show_answer


def build() -> typer.Typer:
    """The `cache` command group."""
    app = typer.Typer(help="The cache of a running gateway.", no_args_is_help=True)
    app.command("stats")(asking(stats))
    app.command("savings")(asking(savings))
    app.command("purge")(asking(purge))
    app.command("explain")(asking(explain))
    app.command("evaluate")(asking(evaluate))
    return app


def stats(
    gateway: Gateway, by: Annotated[str, typer.Option(help="model, key or endpoint.")] = "model"
) -> None:
    """What the cache holds, its hit rate and what it saved since the start."""
    if by not in {"model", "key", "endpoint"}:
        raise source.fail("--by takes model, key or endpoint")
    found = gateway.call("GET", "/cache/stats")
    if gateway.printed(found):
        return
    typer.echo(
        f"{found['entries']} entries, {found['bytes']} of {found['max_bytes']} bytes,"
        f" {found['lookup_us']:.1f} us a lookup"
    )
    typer.echo(
        f"{found['stored']} stored, {found['evicted']} evicted for want of room,"
        f" {found['not_stored']} not stored"
    )
    if found["semantic"] is not None:
        told = found["semantic"]
        refused = sum(told["refused"].values())
        typer.echo(f"{told['questions']} questions; {told['hits']} of {told['looks']} looks found one alike")
        typer.echo(f"{refused} near ones were refused, {told['denied']} denied by the judge")
    for name in ("redis", "objects"):
        if (tier := found[name]) is not None:
            typer.echo(
                f"{name}: {tier['hits']} hits, {tier['misses']} misses, {tier['writes']} written,"
                f" {tier['errors'] + tier['timeouts']} failures, {tier['mean_us'] / 1000:.1f} ms a read"
                + (f"; last error: {tier['last_error']}" if tier["last_error"] else "")
            )
    columns = (by, "hits", "misses", "hit rate", "saved USD", "saved tokens", "saved seconds")
    rows = [
        (row["name"] or "all", str(row["hits"]), str(row["misses"]), f"{row['hit_rate']:.1%}",
         f"{row['saved_usd']:.6f}", str(row["saved_input_tokens"] + row["saved_output_tokens"]),
         f"{row['saved_seconds']:.1f}")
        for row in [*found[f"by_{by}"], found["total"]]
    ]  # fmt: skip
    lazy.render.table(columns, rows)


def savings(
    gateway: Gateway,
    by: Annotated[str, typer.Option(help="model, key, team, user, organization or endpoint.")] = "model",
    start: Annotated[str | None, typer.Option(help="Such as 2026-01-31T08:00; else 24 hours ago.")] = None,
    end: Annotated[str | None, typer.Option(help="Not included; else now.")] = None,
    ttl: Annotated[str | None, typer.Option(help="Such as 10m; else the file's.")] = None,
    scope: Annotated[str | None, typer.Option(help="key, user, team, organization or shared.")] = None,
) -> None:
    """What a cache would have saved over past traffic; needs `cache.measure` while that came."""
    wanted = {"by": by, "start": start, "end": end, "ttl": ttl, "scope": scope}
    query = {name: value for name, value in wanted.items() if value is not None}
    found = gateway.call("GET", "/cache/savings", query=query)
    if gateway.printed(found):
        return
    typer.echo(
        f"{found['requests']} requests, {found['spent_usd']:.6f} USD; "
        f"scope {found['scope']}, ttl {found['ttl']}"
    )
    if not found["complete"]:
        typer.echo("The range holds more than one report can: choose a shorter one.")
    if not found["measured"]:
        typer.echo("Nothing is measured now: `cache: {measure: true}` begins with it.")
    _saved(by, [*found["lines"], found["total"] | {"name": "all"}])
    _saved("scope", found["by_scope"])
    _saved("ttl", found["by_ttl"])


def _saved(first: str, lines: list[dict[str, Any]]) -> None:
    columns = (first, "hits", "hit rate", "saved USD", "saved tokens", "saved seconds")
    rows = [
        (line["name"] or "none", str(line["hits"]), f"{line['hit_rate']:.1%}", f"{line['saved_usd']:.6f}",
         str(line["saved_input_tokens"] + line["saved_output_tokens"]), f"{line['saved_seconds']:.1f}")
        for line in lines
    ]  # fmt: skip
    lazy.render.table(columns, rows)


def purge(
    gateway: Gateway,
    cache_key: Annotated[list[str] | None, typer.Option(help="As x-ailink-cache-key tells it.")] = None,
    tag: Annotated[str | None, typer.Option(help="Of the key or the request.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Such as team:ID or key:ID.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that was asked for.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Within its tenant.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
) -> None:
    """Remove entries that fit all that is named."""
    named: dict[str, Any] = {"tag": tag, "tenant": tenant, "model": model, "namespace": namespace}
    body = {name: value for name, value in named.items() if value is not None}
    if cache_key:
        body["keys"] = cache_key
    if bool(body) == everything:
        raise source.fail("name what is to go, or --all")
    path = "/cache/flushall" if everything else "/cache/purge"
    found = gateway.call("POST", path, body=body)
    if not gateway.printed(found):
        typer.echo(f"{found['deleted']} entries removed")


def explain(
    gateway: Gateway, cache_key: Annotated[str, typer.Argument(help="As x-ailink-cache-key tells it.")]
) -> None:
    """Whose an entry is, how old, and what it once cost."""
    found = gateway.call("GET", "/cache/explain", query={"key": cache_key})
    show_answer(found)
