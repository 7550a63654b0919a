//! The truth journal: one JSON line when a request is fully received and one at its end, appended by one thread that
//! syncs the file once per group of lines. A request is answered only after its first line is on disk, so whatever
//! happens to a gateway, the journal knows every attempt that reached the provider.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::Error;

/// An open journal.
pub struct Journal {
    path: PathBuf,
    sync: bool,
    lines: Mutex<Option<mpsc::Sender<Line>>>,
    counts: Arc<Counts>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Line {
    text: String,
    /// Told once the line is written (and synced, if lines are).
    written: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Counts {
    lines: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    failures: AtomicU64,
}

impl Journal {
    /// Opens the journal for appending. With `sync`, every group of lines is fdatasync'd before it counts as written.
    pub fn open(path: &Path, sync: bool) -> Result<Self, Error> {
        let what = || format!("journal {}", path.display());
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(what()))?;
        let counts = Arc::new(Counts::default());
        let (lines, received) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("mock-journal".to_owned())
            .spawn({
                let counts = Arc::clone(&counts);
                move || write_groups(file, sync, &received, &counts)
            })
            .map_err(Error::io(what()))?;
        let lines = Mutex::new(Some(lines));
        Ok(Self { path: path.to_owned(), sync, lines, counts, writer: Mutex::new(Some(writer)) })
    }

    /// Appends a line and waits until it is written; without sync it does not wait.
    pub async fn write(&self, line: &Value) {
        if !self.sync {
            return self.append(line);
        }
        let (written, waited) = oneshot::channel();
        self.send(Line { text: line.to_string(), written: Some(written) });
        // The sender is dropped only when the write failed, which the statistics tell.
        let _ = waited.await;
    }

    /// Appends a line without waiting.
    pub fn append(&self, line: &Value) {
        self.send(Line { text: line.to_string(), written: None });
    }

    /// Path, lines, bytes, groups and failed writes so far.
    pub fn stats(&self) -> Value {
        json!({
            "path": self.path,
            "sync": self.sync,
            "lines": self.counts.lines.load(Relaxed),
            "bytes": self.counts.bytes.load(Relaxed),
            "groups": self.counts.groups.load(Relaxed),
            "failures": self.counts.failures.load(Relaxed),
        })
    }

    fn send(&self, line: Line) {
        if let Some(lines) = self.lines.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // Fails only when the writer thread is gone, at the end of the process.
            let _ = lines.send(line);
        }
    }
}

impl Drop for Journal {
    /// Writes what is left.
    fn drop(&mut self) {
        drop(self.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

fn write_groups(mut file: File, sync: bool, lines: &mpsc::Receiver<Line>, counts: &Counts) {
    let mut text = Vec::new();
    let mut waiting = Vec::new();
    while let Ok(first) = lines.recv() {
        text.clear();
        let mut count = 0;
        for line in std::iter::once(first).chain(lines.try_iter()) {
            text.extend_from_slice(line.text.as_bytes());
            text.push(b'\n');
            waiting.extend(line.written);
            count += 1;
        }
        let outcome = file.write_all(&text).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        if outcome.is_err() {
            counts.failures.fetch_add(1, Relaxed);
            waiting.clear();
            continue;
        }
        counts.lines.fetch_add(count, Relaxed);
        counts.bytes.fetch_add(text.len() as u64, Relaxed);
        counts.groups.fetch_add(1, Relaxed);
        for written in waiting.drain(..) {
            // The request may have been given up meanwhile.
            let _ = written.send(());
        }
    }
}
