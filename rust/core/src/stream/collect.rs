//! What an answer said, kept for the cache while it passes.

use bytes::BytesMut;
use http::HeaderValue;

use crate::cache::entry::{Form, Worth};
use crate::cache::store::Made;
use crate::cache::{Fill, replay};
use crate::clock::wall_us;
use crate::endpoint::Dialect;
use crate::exchange::Exchange;
use crate::state::State;

pub struct Collect {
    fill: Option<Box<Fill>>,
    kept: BytesMut,
    most: usize,
}

impl Collect {
    /// Takes over what the exchange was to make of its answer.
    pub fn new(exchange: &mut Exchange) -> Self {
        let fill = exchange.fill.take();
        let most = if fill.is_some() { exchange.shard.shared.state.cache.max_entry_bytes() } else { 0 };
        Collect { fill, kept: BytesMut::new(), most }
    }

    pub fn is_on(&self) -> bool {
        self.fill.is_some()
    }

    pub fn keep(&mut self, bytes: &[u8]) {
        if self.fill.is_some() {
            self.kept.extend_from_slice(bytes);
            if self.kept.len() > self.most {
                self.give_up();
            }
        }
    }

    /// It is not to be kept: those who wait ask for themselves.
    pub fn give_up(&mut self) {
        self.kept = BytesMut::new();
        if let Some(fill) = self.fill.take() {
            fill.failed();
        }
    }

    /// The stream is complete.
    pub fn put(&mut self, state: &State, dialect: Dialect, content_type: HeaderValue, worth: Worth) {
        let body = std::mem::take(&mut self.kept).freeze();
        self.end(state, replay::form(dialect, &body), content_type, body, worth);
    }

    /// The whole answer is complete.
    pub fn put_whole(&mut self, state: &State, content_type: HeaderValue, worth: Worth) {
        let body = std::mem::take(&mut self.kept).freeze();
        self.end(state, Form::Whole, content_type, body, worth);
    }

    fn end(&mut self, state: &State, form: Form, content_type: HeaderValue, body: bytes::Bytes, worth: Worth) {
        if let Some(fill) = self.fill.take() {
            let now_us = wall_us();
            let micros = u64::try_from(now_us - fill.asked_us).unwrap_or(0);
            let worth = Worth { micros, ..worth };
            state.cache.fill(fill, Made { form, content_type, body, worth, now_us });
        }
    }
}
