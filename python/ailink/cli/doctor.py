"""`ailink doctor`: looks at the machine and the installation before the gateway has to."""

import json

import typer

from ailink.cli import lazy
from ailink.cli.source import ConfigOption, JsonOption


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check Python, the extension, configuration, data directory, port, database, disk, limits and clock."""
    findings = lazy.doctor_checks.run(config)
    if as_json:
        rows = [{"check": f.name, "state": f.state, "text": f.text} for f in findings]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        colors = {"ok": "green", "warning": "yellow", "failed": "red"}
        for finding in findings:
            state = typer.style(f"{finding.state:8}", fg=colors[finding.state], bold=True)
            typer.echo(f"{state} {finding.name:15} {finding.text}")
    raise typer.Exit(1 if any(finding.state == "failed" for finding in findings) else 0)
