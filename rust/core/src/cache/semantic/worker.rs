//! The thread that holds the index.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::index::{Index, Near};
use super::{Alive, Ask, Counts, Looked, Question, Settings};
use crate::clock::wall_us;
use crate::kernel::alike::{Difference, difference};
use crate::kernel::vector::Vector;
use crate::static_model::StaticModel;

/// After how many questions those are looked for whose entries are gone.
const SWEEP: usize = 4096;

pub struct Worker {
    index: Index,
    model: Option<StaticModel>,
    threshold: f32,
    top: usize,
    most: usize,
    alive: Alive,
    counts: Arc<Counts>,
    since_sweep: usize,
}

impl Worker {
    pub fn new(settings: &Settings, model: Option<StaticModel>, alive: Alive, counts: Arc<Counts>) -> Worker {
        let &Settings { threshold, top, most, .. } = settings;
        Worker { index: Index::default(), model, threshold, top, most, alive, counts, since_sweep: 0 }
    }

    /// Until nobody asks any more.
    pub fn run(mut self, asked: &Receiver<Ask>) {
        while let Ok(ask) = asked.recv() {
            match ask {
                Ask::Look { question, vector, reply } => _ = reply.send(self.look(&question, vector)),
                Ask::Put { question, vector, key, until_us } => {
                    self.index.put(question.partition, &question.text, &vector, (key, until_us));
                    self.make_room();
                }
                Ask::Learn(records) => {
                    for record in records {
                        // This node's own may be given for longer, once they are stale.
                        let known = self.index.until(&record.partition, &record.key);
                        if known.is_some_and(|until_us| until_us >= record.until_us) {
                            continue;
                        }
                        let to = (record.key, record.until_us);
                        self.index.put(record.partition, &record.text, &record.vector, to);
                        self.make_room();
                    }
                }
                Ask::Clear => self.index = Index::default(),
                Ask::Forget { partition, key } => self.index.remove(&partition, &key),
                Ask::Sweep => self.sweep(),
            }
            let (questions, partitions) = self.index.size();
            self.counts.questions.store(questions as u64, Ordering::Relaxed);
            self.counts.partitions.store(partitions as u64, Ordering::Relaxed);
        }
    }

    fn make_room(&mut self) {
        self.since_sweep += 1;
        let (count, _) = self.index.size();
        // A sweep goes through all of them.
        if self.since_sweep >= SWEEP.max(count / 16) || count > self.most && self.since_sweep * 16 >= self.most {
            self.sweep();
        }
        while self.index.size().0 > self.most {
            self.index.drop_oldest();
        }
    }

    fn sweep(&mut self) {
        self.index.sweep(wall_us(), &self.alive);
        self.since_sweep = 0;
    }

    fn look(&mut self, question: &Question, vector: Option<Vec<f32>>) -> Option<Looked> {
        let values = match (vector, &self.model) {
            (Some(values), _) => values,
            (None, Some(model)) => model.embed(&question.text),
            (None, None) => return None,
        };
        let vector = Arc::new(Vector::new(&values)?);
        let mut near =
            self.index.near(question, &vector, question.threshold.unwrap_or(self.threshold), wall_us(), self.top);
        near.retain(|near| self.alike(question, near));
        Some(Looked { near, vector })
    }

    /// Whether the words agree; what they differ in is counted.
    fn alike(&self, question: &Question, near: &Near) -> bool {
        let Some(found) = difference(&question.text, &near.text) else { return true };
        let place = Difference::ALL.iter().position(|difference| *difference == found);
        if let Some(counter) = place.and_then(|place| self.counts.refused.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        false
    }
}
