//! Who on this node waits for which approval.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bells by approval. Only requests that wait for one come here.
#[derive(Default)]
pub struct Waiting(Mutex<HashMap<String, Arc<Notify>>>);

impl Waiting {
    /// A bell that rings when something changes.
    pub fn bell(&self, id: &str) -> Arc<Notify> {
        self.0.lock().entry(id.to_string()).or_default().clone()
    }

    /// Gives a bell back; the last one to do so takes it down.
    pub fn leave(&self, id: &str, bell: Arc<Notify>) {
        let mut all = self.0.lock();
        drop(bell);
        if all.get(id).is_some_and(|bell| Arc::strong_count(bell) == 1) {
            all.remove(id);
        }
    }

    pub fn ring(&self, ids: &[String]) {
        let all = self.0.lock();
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
        assert_eq!(waiting.0.lock().len(), 1);
        waiting.leave("a", second);
        assert!(waiting.0.lock().is_empty());
    }
}
