//! Who waits for what is to come of a request.

use std::sync::Arc;
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// Readers to be woken when something has come.
#[derive(Default)]
pub struct Waiting(Mutex<Vec<(u64, Waker)>>);

impl Waiting {
    pub fn add(&self, number: u64, waker: &Waker) {
        let mut all = self.0.lock();
        match all.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => known.clone_from(waker),
            None => all.push((number, waker.clone())),
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let all = std::mem::take(&mut *self.0.lock());
        all.into_iter().for_each(|(_, waker)| waker.wake());
    }
}
