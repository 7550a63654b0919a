//! One stream, read by several: what has been said stays, and whoever wants more drives the source.
//!
//! No reader depends on another: a slow one falls behind in what is kept, one that leaves takes nothing with it, and the
//! source is dropped (its provider's connection closed) with the last of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::account::Admission;
use crate::body::{Broken, Source};

/// Most bytes that are kept for those who listen. Whoever falls further behind is cut off.
const KEPT: usize = 8 * 1024 * 1024;

struct Inner {
    source: Option<Box<dyn Source>>,
    said: VecDeque<Bytes>,
    /// How many pieces are not kept any more.
    gone: usize,
    bytes: usize,
    broken: Option<String>,
}

/// Wakes everybody who waits for more.
#[derive(Default)]
struct Fan {
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Wake for Fan {
    fn wake(self: Arc<Self>) {
        let waiting: Vec<Waker> = self.waiting.lock().drain().map(|(_, waker)| waker).collect();
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub struct Shared {
    inner: Mutex<Inner>,
    fan: Arc<Fan>,
    readers: AtomicU64,
}

impl Shared {
    pub fn new(source: Box<dyn Source>) -> Arc<Self> {
        let inner = Inner { source: Some(source), said: VecDeque::new(), gone: 0, bytes: 0, broken: None };
        Arc::new(Shared { inner: Mutex::new(inner), fan: Arc::default(), readers: AtomicU64::new(0) })
    }

    /// The beginning is still kept.
    pub fn is_whole(&self) -> bool {
        self.inner.lock().gone == 0
    }

    /// Reads from the beginning.
    pub fn reader(self: &Arc<Self>) -> Reader {
        let number = self.readers.fetch_add(1, Ordering::Relaxed);
        Reader { shared: self.clone(), number, at: 0, _admission: None }
    }

    fn poll(&self, number: u64, at: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        // Registered first: what is said between the look and the registration would wake nobody.
        self.fan.waiting.lock().insert(number, cx.waker().clone());
        let mut inner = self.inner.lock();
        let Some(place) = at.checked_sub(inner.gone) else {
            return Poll::Ready(Some(Err(Broken("the reader fell too far behind a shared stream".to_string()))));
        };
        if let Some(data) = inner.said.get(place) {
            let data = data.clone();
            drop(inner);
            self.fan.waiting.lock().remove(&number);
            return Poll::Ready(Some(Ok(data)));
        }
        if let Some(text) = &inner.broken {
            return Poll::Ready(Some(Err(Broken(text.clone()))));
        }
        let Some(source) = inner.source.as_mut() else { return Poll::Ready(None) };
        let waker = Waker::from(self.fan.clone());
        let data = std::task::ready!(source.poll_data(&mut Context::from_waker(&waker)));
        match &data {
            Some(Ok(data)) => {
                inner.bytes += data.len();
                inner.said.push_back(data.clone());
                while inner.bytes > KEPT
                    && let Some(first) = inner.said.pop_front()
                {
                    inner.gone += 1;
                    inner.bytes -= first.len();
                }
            }
            Some(Err(Broken(text))) => {
                inner.broken = Some(text.clone());
                inner.source = None;
            }
            None => inner.source = None,
        }
        drop(inner);
        self.fan.waiting.lock().remove(&number);
        self.fan.clone().wake();
        Poll::Ready(data)
    }
}

/// One who reads.
pub struct Reader {
    shared: Arc<Shared>,
    number: u64,
    at: usize,
    _admission: Option<Admission>,
}

impl Reader {
    /// Keeps the reader's place among the requests in flight.
    pub fn with(mut self, admission: Option<Admission>) -> Self {
        self._admission = admission;
        self
    }
}

impl Source for Reader {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let data = std::task::ready!(self.shared.poll(self.number, self.at, cx));
        self.at += 1;
        Poll::Ready(data)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.fan.waiting.lock().remove(&self.number);
        // The source may have woken this reader alone.
        self.shared.fan.clone().wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script(VecDeque<Poll<Option<&'static str>>>, Option<Waker>);

    impl Source for Script {
        fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
            match self.0.pop_front() {
                Some(Poll::Ready(text)) => Poll::Ready(text.map(|text| Ok(Bytes::from_static(text.as_bytes())))),
                Some(Poll::Pending) => {
                    self.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        }
    }

    fn said(reader: &mut Reader) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(Ok(data))) = reader.poll_data(&mut cx) {
            all.push(String::from_utf8_lossy(&data).into_owned());
        }
        all
    }

    #[test]
    fn everybody_hears_everything_whoever_leaves() {
        let script = [Poll::Ready(Some("a")), Poll::Ready(Some("b")), Poll::Pending, Poll::Ready(Some("c"))];
        let shared = Shared::new(Box::new(Script(script.into(), None)));
        let (mut leader, mut early) = (shared.reader(), shared.reader());
        assert_eq!(said(&mut leader), ["a", "b"]);
        drop(leader);
        assert_eq!(said(&mut early), ["a", "b", "c"]);
        let mut late = shared.reader();
        assert_eq!(said(&mut late), ["a", "b", "c"]);
    }
}
