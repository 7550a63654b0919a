//! What conditions may ask about, and under which names.

/// Something a condition may ask about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The caller's metadata: header or body.
    Metadata(String),
    /// A member of the request body, by its path.
    Param(Vec<String>),
    Header(String),
    Query(String),
    Method,
    Path,
    BodySize,
    Model,
    Operation,
    Dialect,
    Stream,
    /// Estimated, until the answer says.
    InputTokens,
    MaxTokens,
    OutputTokens,
    /// US dollars: what the request may come to, and what it came to.
    EstimatedCost,
    Cost,
    /// What is left of the tightest budget: US dollars, and in a hundred parts of it.
    BudgetLeft,
    BudgetLeftPercent,
    /// `text`, `image`, `audio`, `file`: the highest there is.
    Modality,
    /// Of the last message, as far as it can be told: `en`, `de`, …
    Language,
    KeyId,
    KeyAlias,
    KeyRole,
    /// Whom the key belongs to.
    Owner(Holder),
    OwnerAlias(Holder),
    /// `user` in the body.
    User,
    Tags,
    Ip,
    /// In the zone of this number, 0 for UTC.
    Hour(u16),
    Minute(u16),
    Weekday(u16),
    Day(u16),
    Month(u16),
    Date(u16),
    Clock(u16),
    /// Whether today is in a calendar, and the zone.
    Calendar(String, u16),
    /// Names of the tools the request offers.
    Tools,
    /// Names of the tools that are called: by the answer, or by the last message of a request.
    ToolCalls,
    /// An argument of the calls of a tool.
    ToolArgument(String, Vec<String>),
    /// How often the same call of a tool stands in the conversation.
    RepeatedCalls,
    /// Rounds of calls since the user said something.
    Depth,
    /// The part of the assistant's words that were there before.
    Repetition,
    /// What somebody did within the last milliseconds.
    History(Holder, Metric, u64),
    Status,
    AnswerBody(Vec<String>),
    AnswerHeader(String),
    AnswerText,
    Provider,
    LatencyMs,
}

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Key,
    User,
    Team,
    Project,
    Organization,
    /// The session that the request names.
    Session,
}

impl Holder {
    pub const ALL: [Holder; 6] =
        [Holder::Key, Holder::User, Holder::Team, Holder::Project, Holder::Organization, Holder::Session];

    pub fn name(self) -> &'static str {
        match self {
            Holder::Key => "key",
            Holder::User => "user",
            Holder::Team => "team",
            Holder::Project => "project",
            Holder::Organization => "organization",
            Holder::Session => "session",
        }
    }

    pub fn parse(name: &str) -> Option<Holder> {
        Holder::ALL.into_iter().find(|holder| holder.name() == name)
    }
}

/// What history counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    Requests,
    Tokens,
    /// US dollars.
    Spend,
}

impl Metric {
    pub fn parse(name: &str) -> Option<Metric> {
        match name {
            "requests" => Some(Metric::Requests),
            "tokens" => Some(Metric::Tokens),
            "spend" => Some(Metric::Spend),
            _ => None,
        }
    }
}

/// Names that stand for themselves. The time is filled with its zone.
const FIXED: [(&str, Field); 43] = [
    ("url.pathname", Field::Path),
    ("request.path", Field::Path),
    ("request.method", Field::Method),
    ("request.body_size", Field::BodySize),
    ("model", Field::Model),
    ("operation", Field::Operation),
    ("dialect", Field::Dialect),
    ("stream", Field::Stream),
    ("tokens.input", Field::InputTokens),
    ("tokens.max_output", Field::MaxTokens),
    ("tokens.output", Field::OutputTokens),
    ("cost.estimated", Field::EstimatedCost),
    ("cost.actual", Field::Cost),
    ("budget.left", Field::BudgetLeft),
    ("budget.left_percent", Field::BudgetLeftPercent),
    ("modality", Field::Modality),
    ("language", Field::Language),
    ("key.id", Field::KeyId),
    ("key.alias", Field::KeyAlias),
    ("key.role", Field::KeyRole),
    ("user", Field::User),
    ("tags", Field::Tags),
    ("ip", Field::Ip),
    ("time.hour", Field::Hour(0)),
    ("time.minute", Field::Minute(0)),
    ("time.weekday", Field::Weekday(0)),
    ("time.day", Field::Day(0)),
    ("time.month", Field::Month(0)),
    ("time.date", Field::Date(0)),
    ("time.clock", Field::Clock(0)),
    ("time.utc", Field::Clock(0)),
    ("tools", Field::Tools),
    ("tool_calls", Field::ToolCalls),
    ("session.repeated_calls", Field::RepeatedCalls),
    ("session.depth", Field::Depth),
    ("session.repetition", Field::Repetition),
    ("response.status", Field::Status),
    ("response.text", Field::AnswerText),
    ("response.latency_ms", Field::LatencyMs),
    ("provider", Field::Provider),
    ("agent.name", Field::KeyAlias),
    ("token.id", Field::KeyId),
    ("token.name", Field::KeyAlias),
];
/// How the other names look, for hints.
const SHAPES: [&str; 15] = [
    "metadata.NAME",
    "params.NAME",
    "body.NAME",
    "headers.NAME",
    "query.NAME",
    "response.body.NAME",
    "response.headers.NAME",
    "team.id",
    "user.id",
    "project.id",
    "organization.id",
    "session.id",
    "calendar.NAME",
    "tool_calls.TOOL.ARGUMENT",
    "history.key.requests.1h",
];
/// Longest window of history, in milliseconds.
const HISTORY_MAX_MS: u64 = 31 * 86_400_000;

impl Field {
    /// `zone`: of the times.
    pub fn parse(name: &str, zone: u16) -> Option<Field> {
        let name = name.strip_prefix("context.").unwrap_or(name);
        if let Some((fixed, field)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            return Some(if *fixed == "time.utc" { field.clone() } else { field.clone().in_zone(zone) });
        }
        let name = name.strip_prefix("request.").unwrap_or(name);
        let (kind, rest) = name.split_once('.')?;
        if rest.is_empty() {
            return None;
        }
        match kind {
            "metadata" => Some(Field::Metadata(rest.to_string())),
            "params" | "body" => Some(Field::Param(path(rest))),
            "headers" | "header" => Some(Field::Header(rest.to_ascii_lowercase())),
            "query" => Some(Field::Query(rest.to_string())),
            "calendar" => Some(Field::Calendar(rest.to_string(), zone)),
            "tool_calls" => {
                let (tool, argument) = rest.split_once('.')?;
                Some(Field::ToolArgument(tool.to_string(), path(argument)))
            }
            "response" => match rest.split_once('.')? {
                ("body", rest) if !rest.is_empty() => Some(Field::AnswerBody(path(rest))),
                ("headers" | "header", rest) if !rest.is_empty() => {
                    Some(Field::AnswerHeader(rest.to_ascii_lowercase()))
                }
                _ => None,
            },
            "history" => {
                let mut parts = rest.splitn(3, '.');
                let (holder, metric) = (Holder::parse(parts.next()?)?, Metric::parse(parts.next()?)?);
                Some(Field::History(holder, metric, window_ms(parts.next()?)?))
            }
            _ => match (Holder::parse(kind)?, rest) {
                (Holder::Key, _) | (Holder::Session, "alias") => None,
                (holder, "id") => Some(Field::Owner(holder)),
                (holder, "alias") => Some(Field::OwnerAlias(holder)),
                _ => None,
            },
        }
    }

    fn in_zone(self, zone: u16) -> Field {
        match self {
            Field::Hour(_) => Field::Hour(zone),
            Field::Minute(_) => Field::Minute(zone),
            Field::Weekday(_) => Field::Weekday(zone),
            Field::Day(_) => Field::Day(zone),
            Field::Month(_) => Field::Month(zone),
            Field::Date(_) => Field::Date(zone),
            Field::Clock(_) => Field::Clock(zone),
            other => other,
        }
    }

    /// Names a mistyped one may stand for.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIXED.iter().map(|(name, _)| *name).chain(SHAPES)
    }

    /// Only an answer has it.
    pub fn is_of_answer(&self) -> bool {
        matches!(
            self,
            Field::Status
                | Field::AnswerBody(_)
                | Field::AnswerHeader(_)
                | Field::AnswerText
                | Field::OutputTokens
                | Field::Cost
                | Field::Provider
                | Field::LatencyMs
        )
    }
}

/// The steps of a path: `messages[0].role`, `messages[*].content`.
pub fn path(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for part in text.split('.') {
        let (name, mut rest) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        if !name.is_empty() {
            steps.push(name.to_string());
        }
        while let Some((place, more)) = rest.split_once(']') {
            steps.push(place.to_string());
            rest = more.strip_prefix('[').unwrap_or("");
        }
    }
    steps
}

/// `90s`, `5m`, `1h`, `7d`.
pub fn window_ms(text: &str) -> Option<u64> {
    let digits = text.len().checked_sub(1)?;
    let unit = match text.get(digits..)? {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = text.get(..digits)?.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=HISTORY_MAX_MS).contains(&ms).then_some(ms)
}
