//! Time limits of many seconds that are rarely reached: the thread's janitor looks at them at each of its ticks, so that a
//! request which is answered in time sets no timer and reads no clock for them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use slab::Slab;

use crate::clock::{monotonic_ns, ns_at};

/// Limits from here on may be kept late by a tick of the janitor, a fiftieth of it at most.
const COARSE: Duration = Duration::from_secs(10);

/// What runs on one I/O thread and should be over by some time.
#[derive(Default)]
pub struct Alarms {
    set: Mutex<Slab<Alarm>>,
}

struct Alarm {
    due_ns: u64,
    /// None once it has rung.
    waker: Option<Waker>,
}

impl Alarms {
    /// Wakes those whose time is over.
    pub fn ring(&self) {
        if !self.set.lock().is_empty() {
            self.ring_at(monotonic_ns());
        }
    }

    fn ring_at(&self, now: u64) {
        for (_, alarm) in self.set.lock().iter_mut().filter(|(_, alarm)| alarm.due_ns <= now) {
            if let Some(waker) = alarm.waker.take() {
                waker.wake();
            }
        }
    }

    /// The future's output, or None when it takes longer than `limit` from `now` on.
    pub async fn within<F: Future>(&self, now: Instant, limit: Duration, future: F) -> Option<F::Output> {
        if limit < COARSE {
            return tokio::time::timeout(limit, future).await.ok();
        }
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Limited { due_ns: ns_at(now).saturating_add(limit), place: Place { alarms: self, at: None }, future }.await
    }
}

pin_project! {
    struct Limited<'a, F> {
        due_ns: u64,
        place: Place<'a>,
        #[pin]
        future: F,
    }
}

/// A place among the alarms, given up when it is dropped.
struct Place<'a> {
    alarms: &'a Alarms,
    at: Option<usize>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.alarms.set.lock().try_remove(at);
        }
    }
}

impl<F: Future> Future for Limited<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        let mut set = this.place.alarms.set.lock();
        match this.place.at.and_then(|at| set.get_mut(at)) {
            None => {
                let alarm = Alarm { due_ns: *this.due_ns, waker: Some(cx.waker().clone()) };
                this.place.at = Some(set.insert(alarm));
            }
            Some(Alarm { waker: Some(waker), .. }) => waker.clone_from(cx.waker()),
            Some(Alarm { waker: None, .. }) => return Poll::Ready(None),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_woken() {
        let alarms = Arc::new(Alarms::default());
        let now = Instant::now();
        let later = ns_at(now) + 30_000_000_000;
        let (over, far) = (Duration::from_secs(20), Duration::from_secs(40));
        for (limit, rings) in [(over, true), (far, false)] {
            let (held, task) = (
                alarms.clone(),
                tokio::spawn({
                    let alarms = alarms.clone();
                    async move { alarms.within(now, limit, pending::<()>()).await }
                }),
            );
            tokio::task::yield_now().await;
            assert_eq!(held.set.lock().len(), 1);
            held.ring();
            assert_eq!(held.set.lock().len(), 1, "it is not time yet");
            held.ring_at(later);
            match rings {
                true => assert_eq!(task.await.expect("it ends"), None),
                false => {
                    tokio::task::yield_now().await;
                    assert!(!task.is_finished());
                    task.abort();
                    assert!(task.await.is_err());
                }
            }
            assert!(held.set.lock().is_empty(), "a place is given up");
        }
    }

    #[tokio::test]
    async fn what_is_in_time_leaves_nothing() {
        let alarms = Alarms::default();
        let limit = Duration::from_secs(60);
        let (tell, told) = oneshot::channel();
        let mut waiting = Box::pin(alarms.within(Instant::now(), limit, told));
        assert!(waiting.as_mut().now_or_never().is_none());
        tell.send(7).expect("it listens");
        assert_eq!(waiting.await, Some(Ok(7)));
        assert_eq!(alarms.within(Instant::now(), limit, async { 1 }).await, Some(1));
        assert!(alarms.set.lock().is_empty());
        assert_eq!(alarms.within(Instant::now(), Duration::from_millis(1), pending::<()>()).await, None);
    }
}
