//! Limits beside an obvious twin: the same is admitted, and the same is counted.

use std::collections::HashMap;

use super::tests::{MINUTE_NS, give, now, rule, subject, take};
use super::*;
use crate::state::rules::{LimitRule, WindowRow};
use crate::state::subjects::Subjects;

/// The obvious twin: every admission by limit, with the slot it fell into, and sums taken anew each time.
#[derive(Default)]
struct Twin {
    taken: HashMap<(usize, usize), Vec<Admitted>>,
}

/// The request, the slot it fell into, how much it took.
type Admitted = (u64, u64, u64);

/// What a test limit is, beside its rule.
#[derive(Clone, Copy)]
enum Shape {
    /// Nanoseconds of a slot; 61 of them count.
    Sliding(u64),
    /// Microseconds of a calendar period.
    Period(i64),
    Held,
}

impl Shape {
    fn place(self, at: Now) -> u64 {
        match self {
            Shape::Sliding(slot) => at.ns / slot,
            Shape::Period(length) => at.us.div_euclid(length).cast_unsigned(),
            Shape::Held => 0,
        }
    }

    fn counts(self, place: u64, at: Now) -> bool {
        match self {
            Shape::Sliding(_) => place + 61 > self.place(at),
            Shape::Period(_) => place == self.place(at),
            Shape::Held => true,
        }
    }
}

impl Twin {
    fn used(&self, limit: (usize, usize), shape: Shape, at: Now) -> u64 {
        let taken = self.taken.get(&limit).into_iter().flatten();
        taken.filter(|(_, place, _)| shape.counts(*place, at)).map(|(.., n)| n).sum()
    }
}

struct Limit {
    row: LimitRule,
    shape: Shape,
}

/// Three payers' limits: of every metric and kind of window, with room for a few requests of a history.
fn limits(random: &mut fastrand::Rng) -> Vec<Vec<Limit>> {
    let length_ms = [6_000, 60_000, 3_600_000][random.usize(..3)];
    let mut sliding = |metric, most: u64, models| {
        let window = WindowRow::Sliding { length_ms };
        let max = random.u64(most / 4..=most);
        Limit { row: rule(metric, max, Some(window), models), shape: Shape::Sliding(length_ms * 1_000_000 / 60) }
    };
    let mut given = vec![
        vec![sliding(Metric::Requests, 9, None), sliding(Metric::Tokens, 90, None)],
        vec![sliding(Metric::Requests, 7, Some("a*"))],
        vec![sliding(Metric::OutputTokens, 70, None)],
    ];
    let hour = WindowRow::Calendar {
        unit: crate::kernel::budget::Unit::Hour,
        offset_s: 0,
        shift_us: 0,
        shifted_offset_s: 0,
        since_us: 0,
    };
    let hourly =
        |metric, max| Limit { row: rule(metric, max, Some(hour.clone()), None), shape: Shape::Period(3_600_000_000) };
    let held = |max| Limit { row: rule(Metric::Parallel, max, None, None), shape: Shape::Held };
    given[0].push(held(random.u64(1..4)));
    given[1].push(hourly(Metric::Spend, random.u64(100..900)));
    given[2].push(held(random.u64(1..6)));
    given[2].push(hourly(Metric::Requests, random.u64(3..60)));
    given
}

/// One node's limits and the twin, side by side.
struct History {
    limits: Vec<Vec<Limit>>,
    payers: Vec<Arc<Subject>>,
    twin: Twin,
    open: Vec<(Vec<Arc<Subject>>, Grants, u64)>,
    random: fastrand::Rng,
    seed: u64,
    at_ns: u64,
}

/// Admitted, refused, settled.
#[derive(Clone, Copy, Default)]
struct Tally([u64; 3]);

impl History {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (subjects, limits) = (Subjects::default(), limits(&mut random));
        let rows = limits.iter().map(|limits| limits.iter().map(|limit| limit.row.clone()).collect());
        let payers = rows.enumerate().map(|(at, rows)| subject(&subjects, Kind::Team, &at.to_string(), rows)).collect();
        let at_ns = random.u64(..MINUTE_NS);
        History { limits, payers, twin: Twin::default(), open: Vec::new(), random, seed, at_ns }
    }

    /// A request comes, or one that was admitted ends; then both have counted the same.
    fn step(&mut self, request: u64, tally: &mut Tally) {
        let random = &mut self.random;
        let pauses = [0, 1, random.u64(..MINUTE_NS / 50), random.u64(..MINUTE_NS * 2)];
        self.at_ns += pauses[random.usize(..4)];
        let at = now(self.at_ns);
        if !self.open.is_empty() && random.u8(..3) == 0 {
            self.settle();
            tally.0[2] += 1;
            return;
        }
        let admitted = self.ask(request, at);
        tally.0[usize::from(!admitted)] += 1;
        for (subject, payer) in self.payers.iter().enumerate() {
            for (index, (_, used)) in payer.usage(at).into_iter().enumerate() {
                let twin = self.twin.used((subject, index), self.limits[subject][index].shape, at);
                assert_eq!(used, twin, "history {}: limit {index} of {subject} at request {request}", self.seed);
            }
        }
    }

    fn settle(&mut self) {
        let random = &mut self.random;
        let (who, grants, id) = self.open.swap_remove(random.usize(..self.open.len()));
        let output = random.u64(..30);
        let used = [1, 0, 5, output, 5 + output, random.u64(..60)];
        give(&who, &grants, &used);
        for ((subject, index), taken) in &mut self.twin.taken {
            let metric = self.limits[*subject][*index].row.metric;
            for (_, _, n) in taken.iter_mut().filter(|(owner, ..)| *owner == id) {
                *n = used[metric as usize];
            }
        }
    }

    fn ask(&mut self, request: u64, at: Now) -> bool {
        let (random, limits) = (&mut self.random, &self.limits);
        let output = random.u64(..40);
        let model = if random.bool() { "a1" } else { "b" };
        let amounts = [1, 1, 5, output, 5 + output, random.u64(..100)];
        let aim = Aim { model, ..Aim::default() };
        let metrics = Metric::ARRIVAL | Metric::USAGE;
        let ask = Ask { aim, metrics, amounts, elastic: None, now: at, rank: Rank::default() };
        let chosen: Vec<usize> = (0..self.payers.len()).filter(|_| random.u8(..4) > 0).collect();
        let who: Vec<Arc<Subject>> = chosen.iter().map(|at| self.payers[*at].clone()).collect();
        let named = chosen
            .iter()
            .flat_map(|subject| limits[*subject].iter().enumerate().map(move |(at, limit)| ((*subject, at), limit)));
        let concerned: Vec<((usize, usize), &Limit)> =
            named.filter(|(_, limit)| limit.row.models.is_none() || model == "a1").collect();
        // What costs nothing fits even where too much was used already.
        let fits = concerned.iter().all(|(name, limit)| {
            let left = limit.row.max.saturating_sub(self.twin.used(*name, limit.shape, at));
            amounts[limit.row.metric as usize] <= left
        });
        let taken = take(&who, &ask);
        assert_eq!(taken.is_ok(), fits, "history {}: request {request} was decided otherwise", self.seed);
        let Ok(grants) = taken else { return false };
        for (name, limit) in concerned {
            let n = amounts[limit.row.metric as usize];
            self.twin.taken.entry(name).or_default().push((request, limit.shape.place(at), n));
        }
        self.open.push((who, grants, request));
        true
    }
}

/// So many histories of so many steps, on all cores; which they are is told.
fn histories(count: u64, steps: u64) -> Tally {
    let seed = std::env::var("AILINK_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(4_u64);
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let began = std::time::Instant::now();
    let run = |worker: u64| {
        let mut tally = Tally::default();
        for number in (worker..count).step_by(usize::try_from(workers).expect("few")) {
            let mut history = History::new(seed.wrapping_mul(1 << 32).wrapping_add(number));
            (0..steps).for_each(|request| history.step(request, &mut tally));
        }
        tally
    };
    let tally = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || run(worker))).collect();
        running.into_iter().fold(Tally::default(), |Tally(sum), one| {
            let Tally(more) = one.join().expect("agrees");
            Tally(std::array::from_fn(|at| sum[at] + more[at]))
        })
    });
    println!("{count} histories of {steps} steps, AILINK_SEED={seed}: {:?} in {:?}", tally.0, began.elapsed());
    tally
}

/// Random requests on random subjects with random limits: the same are admitted, the same is said of those that are not, and
/// what is counted afterwards is the same. A refusal changes nothing. `AILINK_FULL=1`: a million histories.
#[test]
fn agrees_with_the_twin_over_random_histories() {
    let full = std::env::var("AILINK_FULL").is_ok_and(|text| text == "1");
    let count = if full { 1_000_000 } else { 5_000 };
    let Tally([admitted, refused, settled]) = histories(count, 16);
    assert!(admitted > 2 * count && refused > 2 * count && settled > 2 * count, "{admitted} {refused} {settled}");
}

#[test]
fn agrees_with_the_twin_over_long_histories() {
    let Tally([admitted, refused, settled]) = histories(100, 500);
    assert!(admitted > 5_000 && refused > 20_000 && settled > 5_000, "{admitted} {refused} {settled}");
}
