"""`ailink cache evaluate`: what a threshold of the semantic cache is worth with an embedder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway

BATCH = 64


def evaluate(
    gateway: Gateway,
    directory: Annotated[Path | None, typer.Option(help="Of a static model.")] = None,
    model: Annotated[str | None, typer.Option(help="A model of a running gateway that embeds.")] = None,
    lexical: Annotated[bool, typer.Option("--lexical", help="Letters alone, for comparison.")] = False,
    pairs: Annotated[
        Path | None, typer.Option(help="Pairs of your own: kind, tab, question, tab, question.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a table.")] = False,
) -> None:
    """Share of paraphrases found and of near misses let pass, by threshold. Without an embedder: what the
    comparison of words does alone.
    """
    if (directory is not None) + (model is not None) + lexical > 1:
        raise source.fail("one embedder at a time: --directory, --model or --lexical")
    try:
        embed: Any = None
        if directory is not None:
            embed = lazy.semantic.static(directory)
        elif model is not None:
            embed = _route(model, gateway)
        elif lexical:
            embed = lazy.semantic.lexical
        read = lazy.semantic.read_pairs(pairs or lazy.semantic.SHIPPED)
        found = lazy.semantic.evaluate(read, embed)
    except (lazy.semantic.PairError, lazy.client.ClientError, ValueError) as error:
        raise source.fail(str(error)) from None
    if gateway.printed(lazy.semantic.plain(found)):
        return
    if markdown:
        typer.echo(lazy.semantic.markdown(found))
    else:
        typer.echo(f"{found.paraphrases} paraphrases, {found.pairs - found.paraphrases} near misses")
        columns = ("threshold", "found", "let pass", "found by vectors alone", "let pass")
        rows = [
            (f"{row.threshold}", *(f"{share:.1%}" for share in
             (row.hits, row.false_hits, row.hits_by_vector, row.false_hits_by_vector)))
            for row in found.rates
        ]  # fmt: skip
        lazy.render.table(columns, rows)


def _route(model: str, gateway: Gateway) -> Any:
    """Vectors by a running gateway."""

    def embed(texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for at in range(0, len(texts), BATCH):
            body = {"model": model, "input": texts[at : at + BATCH], "encoding_format": "float"}
            found = gateway.ask("POST", "/v1/embeddings", body=body)
            vectors += [row["embedding"] for row in sorted(found["data"], key=lambda row: row["index"])]
        return vectors

    return embed
