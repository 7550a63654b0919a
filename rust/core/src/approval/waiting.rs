//! Who on this node waits for which approval.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bells by approval, and the approvals that this node goes on with when they are given. Only requests that wait for one
/// come here.
#[derive(Default)]
pub struct Waiting {
    bells: Mutex<HashMap<String, Arc<Notify>>>,
    promised: Mutex<HashSet<String>>,
}

impl Waiting {
    /// A bell that rings when something changes.
    pub fn bell(&self, id: &str) -> Arc<Notify> {
        self.bells.lock().entry(id.to_string()).or_default().clone()
    }

    /// Gives a bell back; the last one to do so takes it down.
    pub fn leave(&self, id: &str, bell: Arc<Notify>) {
        let mut all = self.bells.lock();
        drop(bell);
        if all.get(id).is_some_and(|bell| Arc::strong_count(bell) == 1) {
            all.remove(id);
        }
    }

    /// Whether nobody has promised yet to go on with it; somebody has now.
    pub fn promise(&self, id: &str) -> bool {
        self.promised.lock().insert(id.to_string())
    }

    /// The promise was kept, or came to nothing.
    pub fn release(&self, id: &str) {
        self.promised.lock().remove(id);
    }

    pub fn ring(&self, ids: &[String]) {
        let all = self.bells.lock();
        for bell in ids.iter().filter_map(|id| all.get(id)) {
            bell.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bells_go_with_the_last_who_waits() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.bell("a"), waiting.bell("a"));
        assert!(Arc::ptr_eq(&first, &second));
        waiting.leave("a", first);
        assert_eq!(waiting.bells.lock().len(), 1);
        waiting.leave("a", second);
        assert!(waiting.bells.lock().is_empty());
    }

    #[test]
    fn one_promise_at_a_time() {
        let waiting = Waiting::default();
        assert!(waiting.promise("a") && !waiting.promise("a") && waiting.promise("b"));
        waiting.release("a");
        assert!(waiting.promise("a"));
    }
}
