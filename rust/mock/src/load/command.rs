//! `ailink-mock load`.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use lexopt::{Arg, Parser};
use serde_json::Value;

use super::plan::{Expect, Leave, LeaveAfter, Pace, Plan, Slow, Template, Terminator};
use super::preset::Preset;
use super::run;
use crate::Error;
use crate::cli::{self, Outcome};

const HELP: &str = "\
Usage: ailink-mock load --url http://HOST:PORT/PATH (--rate N | --connections N) [OPTIONS]

Prints one JSON object. The exit code is 0 whatever the answers were like: look at \"errors\".

How fast:
  --rate N             open loop: N requests a second on a fixed schedule; latencies count from it
  --poisson            open loop with exponential gaps instead of even ones
  --connections N      closed loop: N connections, each sends when it has its answer
  --duration TIME      measured time [5s]
  --warmup TIME        not measured, before it [1s; none with --requests]
  --requests N         end after N requests, if that is earlier
  --timeout TIME       give a request up after this [30s]
  --max-connections N  open loop: more wait for a free one [10000]
  --threads N          [1]
  --seed N             seed of all that is random [1]

What:
  --preset NAME        chat (1 KiB), chat16k (16 KiB, 11 messages), messages (1 KiB, Anthropic) [chat]
  --model NAME         model of the preset [gpt-4o]
  --stream             ask for a stream
  --body FILE          this body instead of a preset; every {seq} becomes the request's number
  --header 'K: V'      one more header; may be repeated
  --key KEY            authorization: Bearer KEY; several keys take turns
  --keys FILE          a file with a key per line
  --script SCRIPT      for the mock provider, as x-mock header

What is right:
  --expect-status N    [200]
  --expect TEXT        must occur in a whole answer [\"choices\" or \"content\" of a preset]
  --expect-events N    a stream has at least N events before its terminator [1]
  --any-end            how a stream ends is not looked at: formats without a terminator of their own

Difficult clients:
  --slow F:BYTES       the fraction F of the clients reads BYTES a second
  --leave F:WHEN       the fraction F leaves after WHEN: a time (200ms) or so many events (5events)

  --log FILE           one JSON line per request (with several threads FILE.0, FILE.1, …)
  --bench              refuse to run if this is a debug build

TIME is 250ms, 2s, 1m; a bare number is in milliseconds.
";

/// What the arguments say, before it is put together.
struct Arguments {
    url: Option<Uri>,
    rate: Option<f64>,
    poisson: bool,
    connections: Option<usize>,
    duration: Duration,
    warmup: Option<Duration>,
    requests: Option<u64>,
    timeout: Duration,
    max_connections: usize,
    threads: usize,
    seed: u64,
    preset: Preset,
    model: String,
    stream: bool,
    body: Option<PathBuf>,
    headers: Vec<String>,
    keys: Vec<String>,
    status: u16,
    contains: Option<String>,
    events: u64,
    any_end: bool,
    slow: Option<Slow>,
    leave: Option<Leave>,
    log: Option<PathBuf>,
    bench: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            url: None,
            rate: None,
            poisson: false,
            connections: None,
            duration: Duration::from_secs(5),
            warmup: None,
            requests: None,
            timeout: Duration::from_secs(30),
            max_connections: 10_000,
            threads: 1,
            seed: 1,
            preset: Preset::Chat,
            model: "gpt-4o".to_owned(),
            stream: false,
            body: None,
            headers: Vec::new(),
            keys: Vec::new(),
            status: 200,
            contains: None,
            events: 1,
            any_end: false,
            slow: None,
            leave: None,
            log: None,
            bench: false,
        }
    }
}

/// Runs the command.
pub(crate) fn command(parser: Parser) -> Result<Outcome, Error> {
    let Some(arguments) = Arguments::read(parser)? else {
        return Ok(Outcome::Help(HELP));
    };
    if cfg!(debug_assertions) {
        if arguments.bench {
            return Err(Error::usage("this is a debug build: its figures mean nothing, --bench refuses to run"));
        }
        cli::warn("this is a debug build: its figures mean nothing");
    }
    let report = run(&arguments.plan()?)?;
    cli::print(&format!("{report}\n"));
    Ok(Outcome::Done)
}

/// Runs the generator with the arguments of `ailink-mock load` and returns its report.
pub fn report(args: Vec<String>) -> Result<Value, Error> {
    let arguments = Arguments::read(Parser::from_args(args))?.ok_or_else(|| Error::usage("--help has no report"))?;
    run(&arguments.plan()?)
}

impl Arguments {
    /// None when help is asked for.
    fn read(mut parser: Parser) -> Result<Option<Self>, Error> {
        let mut arguments = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Long(name) => {
                    let name = name.to_owned();
                    arguments.take(&name, &mut parser)?;
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(arguments))
    }

    fn take(&mut self, name: &str, parser: &mut Parser) -> Result<(), Error> {
        match name {
            "url" => self.url = Some(cli::value(parser)?),
            "rate" => self.rate = Some(cli::value(parser)?),
            "poisson" => self.poisson = true,
            "connections" => self.connections = Some(cli::value(parser)?),
            "duration" => self.duration = cli::duration(parser)?,
            "warmup" => self.warmup = Some(cli::duration(parser)?),
            "requests" => self.requests = Some(cli::value(parser)?),
            "timeout" => self.timeout = cli::duration(parser)?,
            "max-connections" => self.max_connections = cli::value(parser)?,
            "threads" => self.threads = cli::value::<usize>(parser)?.max(1),
            "seed" => self.seed = cli::value(parser)?,
            "bench" => self.bench = true,
            "log" => self.log = Some(cli::path(parser)?),
            "slow" => self.slow = Some(slow(&cli::string(parser)?)?),
            "leave" => self.leave = Some(leave(&cli::string(parser)?)?),
            _ => return self.take_request(name, parser),
        }
        Ok(())
    }

    fn take_request(&mut self, name: &str, parser: &mut Parser) -> Result<(), Error> {
        match name {
            "preset" => {
                let name = cli::string(parser)?;
                self.preset = Preset::of(&name).ok_or_else(|| Error::usage(format!("no such preset: {name}")))?;
            }
            "model" => self.model = cli::string(parser)?,
            "stream" => self.stream = true,
            "body" => self.body = Some(cli::path(parser)?),
            "header" => self.headers.push(cli::string(parser)?),
            "key" => self.keys.push(cli::string(parser)?),
            "keys" => self.keys.extend(read(&cli::path(parser)?)?.lines().map(str::to_owned)),
            "script" => self.headers.push(format!("x-mock: {}", cli::string(parser)?)),
            "expect-status" => self.status = cli::value(parser)?,
            "expect" => self.contains = Some(cli::string(parser)?),
            "expect-events" => self.events = cli::value(parser)?,
            "any-end" => self.any_end = true,
            _ => return Err(Error::usage(format!("no such option: --{name}"))),
        }
        Ok(())
    }

    fn plan(self) -> Result<Plan, Error> {
        let url = self.url.ok_or_else(|| Error::usage("--url is needed"))?;
        let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(Error::usage("--url has to be http://HOST:PORT/PATH"));
        };
        let pace = match (self.rate, self.connections) {
            (Some(rate), None) if rate > 0.0 => Pace::Open { rate, poisson: self.poisson },
            (None, Some(connections)) if connections > 0 => Pace::Closed { connections },
            _ => return Err(Error::usage("one of --rate and --connections is needed")),
        };
        let target = (authority.host(), authority.port_u16().unwrap_or(80))
            .to_socket_addrs()
            .map_err(Error::io(authority.to_string()))?
            .next()
            .ok_or_else(|| Error::usage(format!("{authority} has no address")))?;
        let anthropic = self.preset.is_anthropic();
        let mut headers = vec!["content-type: application/json".to_owned()];
        if anthropic && self.body.is_none() {
            headers.push("anthropic-version: 2023-06-01".to_owned());
        }
        headers.extend(self.headers);
        let contains = match (&self.body, self.status) {
            (None, 200) if anthropic => "\"content\"",
            (None, 200) => "\"choices\"",
            _ => "",
        };
        let body = match &self.body {
            Some(path) => read(path)?,
            None => self.preset.body(&self.model, self.stream),
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let terminator = match (self.any_end, anthropic) {
            (true, _) => Terminator::Any,
            (false, true) => Terminator::MessageStop,
            (false, false) => Terminator::Done,
        };
        Ok(Plan {
            target,
            template: Template::new(authority.as_str(), path, &headers, self.keys, &body),
            pace,
            duration: self.duration,
            warmup: self.warmup.unwrap_or(if self.requests.is_some() {
                Duration::ZERO
            } else {
                Duration::from_secs(1)
            }),
            requests: self.requests,
            timeout: self.timeout,
            threads: self.threads,
            max_connections: self.max_connections,
            expect: Expect {
                status: self.status,
                contains: self.contains.unwrap_or_else(|| contains.to_owned()).into_bytes(),
                events: self.events,
                terminator,
            },
            slow: self.slow,
            leave: self.leave,
            log: self.log,
            seed: self.seed,
        })
    }
}

fn read(path: &std::path::Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::io(path.display().to_string()))
}

fn fraction(text: &str) -> Option<(f64, &str)> {
    let (fraction, rest) = text.split_once(':')?;
    let fraction = fraction.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction))?;
    Some((fraction, rest))
}

fn slow(text: &str) -> Result<Slow, Error> {
    fraction(text)
        .and_then(|(fraction, bytes)| Some(Slow { fraction, bytes_per_second: bytes.parse().ok()? }))
        .ok_or_else(|| Error::usage(format!("--slow FRACTION:BYTES, not '{text}'")))
}

fn leave(text: &str) -> Result<Leave, Error> {
    fraction(text)
        .and_then(|(fraction, when)| {
            let after = match when.strip_suffix("events") {
                Some(events) => LeaveAfter::Events(events.parse().ok()?),
                None => LeaveAfter::Time(crate::duration::parse(when)?),
            };
            Some(Leave { fraction, after })
        })
        .ok_or_else(|| Error::usage(format!("--leave FRACTION:TIME or FRACTION:Nevents, not '{text}'")))
}
