//! The command line: which command, what went wrong, and the arguments that commands share.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::str::FromStr;

use lexopt::{Arg, Parser, ValueExt};
use serde_json::json;

use crate::{Error, load, provider, proxy, static_server};

const HELP: &str = "\
Usage: ailink-mock COMMAND [OPTIONS]

Commands:
  provider  a mock of OpenAI's and Anthropic's APIs that can be told to misbehave
  load      a load generator, open or closed loop, that checks every answer
  proxy     a bare reverse proxy on hyper, the yardstick for what a gateway adds
  static    a hyper server that reads the request and returns a fixed answer

ailink-mock COMMAND --help tells the options of a command.
";

/// What a command comes to: text for the user, or nothing.
pub enum Outcome {
    Done,
    Help(&'static str),
}

/// Runs a command line (without the program's name) and returns the exit code: 0, 1 when it failed, 2 when the
/// arguments are wrong.
#[must_use]
pub fn main_with(args: Vec<String>) -> i32 {
    match run(args) {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Help(text)) => {
            print(text);
            0
        }
        Err(error) => {
            warn(&error.to_string());
            if matches!(error, Error::Io { .. }) { 1 } else { 2 }
        }
    }
}

fn run(args: Vec<String>) -> Result<Outcome, Error> {
    let mut parser = Parser::from_args(args);
    match parser.next()? {
        None | Some(Arg::Short('h') | Arg::Long("help")) => Ok(Outcome::Help(HELP)),
        Some(Arg::Value(command)) => match command.to_str() {
            Some("provider") => provider::command(parser),
            Some("load") => load::command(parser),
            Some("proxy") => proxy::command(parser),
            Some("static") => static_server::command(parser),
            _ => Err(Error::usage(format!("no such command: {}", command.display()))),
        },
        Some(other) => Err(other.unexpected().into()),
    }
}

/// Writes to standard output; a reader that left is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Tells the user something on standard error.
pub fn warn(text: &str) {
    // Nothing is left to tell it to when standard error is closed.
    let _ = writeln!(std::io::stderr(), "ailink-mock: {text}");
}

/// Tells as one JSON line where a server listens.
pub fn announce(what: &str, port: Option<u16>, address: &str) {
    print(&format!("{}\n", json!({"listening": what, "port": port, "address": address})));
}

/// Returns when standard input is closed, so that a server ends with the program that started it.
pub fn wait_for_stdin() {
    let mut scratch = [0; 256];
    while matches!(std::io::stdin().read(&mut scratch), Ok(1..)) {}
}

/// The value of an option, as a string.
pub fn string(parser: &mut Parser) -> Result<String, Error> {
    Ok(parser.value()?.string()?)
}

/// The value of an option, as a number or whatever else is read from text.
pub fn value<T>(parser: &mut Parser) -> Result<T, Error>
where
    T: FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
{
    Ok(parser.value()?.parse()?)
}

/// The value of an option, as a path.
pub fn path(parser: &mut Parser) -> Result<std::path::PathBuf, Error> {
    let value: OsString = parser.value()?;
    Ok(value.into())
}

/// The value of an option, as a duration.
pub fn duration(parser: &mut Parser) -> Result<std::time::Duration, Error> {
    let text = string(parser)?;
    crate::duration::parse(&text).ok_or_else(|| Error::usage(format!("'{text}' is no duration (250ms, 2s, 1m)")))
}
