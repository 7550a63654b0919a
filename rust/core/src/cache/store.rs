//! The first tier: answers in memory by their key, weighed in bytes, with a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;

use super::entry::{Entry, Fill, Form, Worth};
use super::flight::Flights;
use super::items;
use super::key::CacheKey;
use super::lease::Lease;
use super::objects::{self, Objects};
use super::purge::Purge;
use super::refusals::Refusals;
use super::remote::{Memory, Remote, Target};
use super::semantic::{self, Record, Semantic};
use super::shelf::Shelf;
use crate::clock::wall_us;
use crate::error::Error;
use crate::snapshot::wire;
use crate::state::CredentialSlot;

/// Holds nothing until a snapshot enables it.
#[derive(Default)]
pub struct Cache {
    store: Arc<ArcSwapOption<Shelf>>,
    remote: Arc<ArcSwapOption<Remote>>,
    objects: Arc<ArcSwapOption<Objects>>,
    semantic: Arc<ArcSwapOption<Semantic>>,
    pub flights: Flights,
    pub refusals: Refusals,
    epoch: Arc<AtomicU64>,
    evicted: AtomicU64,
    pub stored: AtomicU64,
    pub refused: AtomicU64,
}

/// An answer as it came.
pub struct Made {
    pub form: Form,
    pub content_type: HeaderValue,
    pub body: Bytes,
    pub worth: Worth,
    pub now_us: i64,
}

impl Cache {
    /// Follows the settings of a new snapshot; what is cached stays unless the size changes.
    pub fn configure(&self, settings: wire::Cache) {
        if !settings.enabled {
            self.store.store(None);
            return;
        }
        let current = self.store.load();
        if current.as_ref().is_some_and(|store| store.settings == settings) {
            return;
        }
        let Some(store) = Shelf::new(settings) else { return };
        if let Some(current) = current.as_ref() {
            for (key, entry) in current.entries.iter() {
                self.evicted.fetch_add(store.insert(key, entry) as u64, Ordering::Relaxed);
            }
        }
        self.store.store(Some(Arc::new(store)));
    }

    /// Follows the settings of the second tier.
    ///
    /// # Errors
    /// The tier cannot be used.
    pub fn connect(&self, target: Option<Target>) -> Result<(), String> {
        let current = self.remote.load();
        if current.as_ref().map(|remote| &remote.target) == target.as_ref() {
            return Ok(());
        }
        let remote = target.map(|target| Remote::start(target, self.memory()));
        self.remote.store(remote.transpose()?);
        Ok(())
    }

    /// Follows the settings of the third tier. `credential`: of its bucket.
    ///
    /// # Errors
    /// The tier cannot be used.
    pub fn connect_objects(&self, target: Option<(objects::Target, Arc<CredentialSlot>)>) -> Result<(), String> {
        let current = self.objects.load();
        if current.as_ref().map(|objects| &objects.target) == target.as_ref().map(|(target, _)| target) {
            return Ok(());
        }
        let objects = target.map(|(target, credential)| Objects::start(target, credential, self.memory()));
        self.objects.store(objects.transpose()?);
        Ok(())
    }

    /// What a tier must know of the memory.
    fn memory(&self) -> Memory {
        let (store, epoch) = (self.store.clone(), self.epoch.clone());
        let flush = Box::new(move || {
            epoch.fetch_add(1, Ordering::AcqRel);
            if let Some(store) = store.load().as_ref() {
                store.entries.clear();
            }
        });
        Memory { epoch: self.epoch.clone(), flush, semantic: self.semantic.clone() }
    }

    /// Follows the settings of the semantic cache. What it knows stays unless they change.
    ///
    /// # Errors
    /// Its model cannot be read.
    pub fn understand(&self, settings: Option<semantic::Settings>) -> Result<(), String> {
        let current = self.semantic.load();
        if current.as_ref().map(|semantic| &semantic.settings) == settings.as_ref() {
            return Ok(());
        }
        let started = settings.map(|settings| {
            let (store, remote, objects) = (self.store.clone(), self.remote.clone(), self.objects.clone());
            // What memory does not have may be in a tier beneath: nobody asks those for every question.
            let alive = move |key: &CacheKey| {
                remote.load().is_some()
                    || objects.load().is_some()
                    || store.load().as_ref().is_some_and(|store| store.entries.peek(key).is_some())
            };
            Semantic::start(settings, Box::new(alive))
        });
        self.semantic.store(started.transpose()?);
        Ok(())
    }

    /// What finds answers to similar questions, where it is on.
    pub fn semantic(&self) -> Option<Arc<Semantic>> {
        self.semantic.load_full()
    }

    /// The second tier, where there is one.
    pub fn remote(&self) -> Option<Arc<Remote>> {
        self.remote.load_full()
    }

    /// The third tier, where there is one.
    pub fn objects(&self) -> Option<Arc<Objects>> {
        self.objects.load_full()
    }

    /// There is something beneath memory.
    pub fn is_tiered(&self) -> bool {
        self.remote.load().is_some() || self.objects.load().is_some()
    }

    /// The entry, if it may still be given at `now_us`; a stale one is one that shall be replaced.
    pub fn get(&self, key: &CacheKey, now_us: i64) -> Option<Arc<Entry>> {
        let store = self.store.load();
        let store = store.as_ref()?;
        let entry = store.entries.get(key)?;
        if entry.stale_us > now_us {
            return Some(entry);
        }
        store.entries.remove(key);
        None
    }

    /// Purges so far.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Keeps an answer and gives it to those who wait for it.
    pub fn fill(&self, mut fill: Box<Fill>, made: Made) -> Arc<Entry> {
        let expires_us = made.now_us.saturating_add(fill.ttl_us);
        let entry = Arc::new(Entry {
            form: made.form,
            content_type: made.content_type,
            // A slice of a larger read buffer would keep all of that buffer alive.
            body: Bytes::copy_from_slice(&made.body),
            stored_us: made.now_us,
            expires_us,
            stale_us: expires_us.saturating_add(fill.stale_us),
            worth: made.worth,
            about: fill.about,
        });
        let kept = fill.keep && fill.ttl_us > 0 && self.put(fill.key, &entry, fill.epoch);
        if kept {
            let lease = self.sink(fill.key, &entry, fill.epoch, fill.lease.take());
            fill.lease = lease;
        }
        if let (Some(question), Some(meaning), Some(semantic)) = (fill.question, fill.meaning, self.semantic())
            && kept
            && !calls_tools(&entry.body)
        {
            if let Some(remote) = self.remote.load().as_ref() {
                let to = (fill.key, entry.expires_us, entry.about.clone());
                let record = Record::new(&question, meaning.clone(), semantic.print, to);
                remote.put_question(record, fill.epoch, semantic.settings.most);
            }
            semantic.put(question, meaning, fill.key, entry.stale_us);
        }
        // Behind the entry, in the order of writes.
        drop(fill.lease);
        if let Some(lead) = fill.lead {
            lead.done(&entry);
        }
        entry
    }

    /// Writes an entry to the tiers beneath. Returns the lease unless it is given back behind a write of its own.
    fn sink(&self, key: CacheKey, entry: &Arc<Entry>, epoch: u64, lease: Option<Lease>) -> Option<Lease> {
        let (remote, objects) = (self.remote.load(), self.objects.load());
        let objects = objects.as_ref().filter(|objects| objects.takes(entry));
        let alone = objects.is_some_and(|objects| objects.is_long(entry));
        if let Some(remote) = remote.as_ref().filter(|_| !alone) {
            remote.put(key, entry, epoch);
        }
        let Some(objects) = objects else { return lease };
        let (with, without) = if alone { (lease, None) } else { (None, lease) };
        objects.put(key, entry, epoch, with);
        without
    }

    /// An entry of the third tier becomes one of the second, where it may.
    pub fn rise(&self, key: CacheKey, entry: &Arc<Entry>, epoch: u64) {
        if let (Some(remote), Some(objects)) = (self.remote.load().as_ref(), self.objects.load().as_ref())
            && !objects.is_long(entry)
        {
            remote.put(key, entry, epoch);
        }
    }

    /// The same for a whole answer, whose inputs may be kept one by one. Returns what the caller gets.
    pub fn keep_whole(&self, mut fill: Box<Fill>, content_type: HeaderValue, body: Bytes, worth: Worth) -> Bytes {
        let now_us = wall_us();
        let micros = u64::try_from(now_us - fill.asked_us).unwrap_or(0);
        let mut made = Made { form: Form::Whole, content_type, body, worth: Worth { micros, ..worth }, now_us };
        let expires_us = now_us.saturating_add(fill.ttl_us);
        let ends = (expires_us, expires_us.saturating_add(fill.stale_us));
        if let Some(mut items) = fill.items.take() {
            let known = items.worth();
            let epoch = fill.epoch;
            match items::keep(&mut items, &made, &fill.about, ends) {
                Some((whole, entries)) => {
                    for (key, entry) in &entries {
                        self.put(*key, entry, epoch);
                    }
                    made.body = whole;
                    made.worth.pico += known.pico;
                    made.worth.input += known.input;
                }
                // A provider that does not answer as OpenAI does was asked for a part only.
                None if items.known() > 0 => {
                    let body = made.body;
                    fill.failed();
                    return body;
                }
                None => {}
            }
        }
        let body = made.body.clone();
        self.fill(fill, made);
        body
    }

    /// Keeps an entry unless it is too large or was purged meanwhile.
    pub fn put(&self, key: CacheKey, entry: &Arc<Entry>, epoch: u64) -> bool {
        let store = self.store.load();
        let Some(store) = store.as_ref() else { return false };
        if entry.body.len() as u64 > store.settings.max_entry_bytes || self.epoch() != epoch {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.evicted.fetch_add(store.insert(key, entry.clone()) as u64, Ordering::Relaxed);
        self.stored.fetch_add(1, Ordering::Relaxed);
        // A purge that came between the look and the insertion has not seen the entry.
        if self.epoch() != epoch {
            store.entries.remove(&key);
            return false;
        }
        true
    }

    /// Remembers that a provider refused the request, where that is asked for.
    pub fn refuse(&self, fill: &Fill, error: &Error, now_us: i64) {
        if fill.errors_us > 0 && self.epoch() == fill.epoch {
            self.refusals.put(fill.key, error, now_us, fill.errors_us);
        }
    }

    pub fn remove(&self, key: &CacheKey) {
        if let Some(store) = self.store.load().as_ref() {
            store.entries.remove(key);
        }
    }

    /// Removes what fits; what is being made now is not kept. Returns how many entries went.
    ///
    /// # Errors
    /// A tier could not be reached: what it holds may come back.
    pub fn purge(&self, purge: &Purge) -> Result<u64, String> {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.flights.forget();
        self.refusals.clear();
        let gone = AtomicU64::new(0);
        if let Some(store) = self.store.load().as_ref() {
            store.entries.retain(|key, entry| {
                let goes = purge.fits(key, &entry.about);
                gone.fetch_add(u64::from(goes), Ordering::Relaxed);
                !goes
            });
        }
        if let Some(semantic) = self.semantic.load().as_ref() {
            semantic.sweep();
        }
        let remote = self.remote.load().as_ref().map(|remote| remote.purge(purge));
        let objects = self.objects.load().as_ref().map(|objects| objects.purge(purge));
        let mut most = gone.into_inner();
        let mut wrong = Vec::new();
        for (name, done) in [("cache.redis", remote), ("cache.objects", objects)] {
            match done.unwrap_or(Ok(0)) {
                Ok(gone) => most = most.max(gone),
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        if wrong.is_empty() { Ok(most) } else { Err(wrong.join("; ")) }
    }

    /// Looks at every entry.
    pub fn each(&self, mut look: impl FnMut(&CacheKey, &Entry)) {
        if let Some(store) = self.store.load().as_ref() {
            for (key, entry) in store.entries.iter() {
                look(&key, &entry);
            }
        }
    }

    pub fn max_entry_bytes(&self) -> usize {
        let store = self.store.load();
        store.as_ref().map_or(0, |store| usize::try_from(store.settings.max_entry_bytes).unwrap_or(usize::MAX))
    }

    /// Entries that went for want of room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    pub fn max_bytes(&self) -> u64 {
        self.store.load().as_ref().map_or(0, |store| store.settings.max_bytes)
    }

    /// Number of entries and their weight in bytes.
    pub fn size(&self) -> (u64, u64) {
        self.store.load().as_ref().map_or((0, 0), |store| (store.entries.len() as u64, store.entries.weight()))
    }
}

/// An answer that calls a tool has arguments made for its own question. Text that only speaks of it costs a call more.
fn calls_tools(body: &[u8]) -> bool {
    let marks: [&[u8]; 5] = [b"\"tool_calls\"", b"tool_use", b"functionCall", b"function_call", b"toolUse"];
    marks.iter().any(|mark| memchr::memmem::find(body, mark).is_some())
}
