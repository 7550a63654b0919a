//! `ailink-mock provider`.

use lexopt::{Arg, Parser};

use super::{Options, serve};
use crate::Error;
use crate::cli::{self, Outcome};

const HELP: &str = "\
Usage: ailink-mock provider [OPTIONS]

Serves until it is killed. The first line on standard output is {\"listening\":\"provider\",\"port\":N,\"address\":\"…\"}.

  --host HOST        address to bind [127.0.0.1]
  --port N           TCP port, 0 for a free one [0]
  --unix PATH        bind a unix socket instead
  --threads N        threads with a runtime and a listening socket each [1]
  --script SCRIPT    what every answer starts from, e.g. 'latency=300;gap=5'
  --journal PATH     append the truth journal to this file
  --no-sync          do not sync the journal to disk
  --record N         how many requests /mock/requests keeps [256]
  --key KEY          accept only this key; may be repeated
  --model NAME       list this model instead of the default ones; may be repeated
  --seed N           seed of random delays [1]
  --while-stdin      end when standard input is closed
";

/// Runs the command.
pub fn command(mut parser: Parser) -> Result<Outcome, Error> {
    let mut options = Options::default();
    let mut models = Vec::new();
    let mut while_stdin = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("host") => options.host = cli::string(&mut parser)?,
            Arg::Long("port") => options.port = cli::value(&mut parser)?,
            Arg::Long("unix") => options.unix = Some(cli::path(&mut parser)?),
            Arg::Long("threads") => options.threads = cli::value(&mut parser)?,
            Arg::Long("script") => options.script = cli::string(&mut parser)?,
            Arg::Long("journal") => options.journal = Some(cli::path(&mut parser)?),
            Arg::Long("no-sync") => options.journal_sync = false,
            Arg::Long("record") => options.record = cli::value(&mut parser)?,
            Arg::Long("key") => options.keys.push(cli::string(&mut parser)?),
            Arg::Long("model") => models.push(cli::string(&mut parser)?),
            Arg::Long("seed") => options.seed = cli::value(&mut parser)?,
            Arg::Long("while-stdin") => while_stdin = true,
            Arg::Short('h') | Arg::Long("help") => return Ok(Outcome::Help(HELP)),
            other => return Err(other.unexpected().into()),
        }
    }
    if !models.is_empty() {
        options.models = models;
    }
    let unix = options.unix.clone();
    let handle = serve(options)?;
    match (handle.address(), unix) {
        (Some(address), _) => cli::announce("provider", Some(address.port()), &address.to_string()),
        (None, path) => cli::announce("provider", None, &path.unwrap_or_default().display().to_string()),
    }
    if while_stdin {
        cli::wait_for_stdin();
        handle.stop();
    } else {
        handle.wait();
    }
    Ok(Outcome::Done)
}
