//! A directory on a disk, or on a file system that nodes share. What is written appears whole or not at all.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::store::Page;

/// What was begun and not finished goes after that long.
const ABANDONED: Duration = Duration::from_secs(3600);
/// How full it is left, in percent, when the oldest entries had to go.
const LEFT: u64 = 90;

pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    most: u64,
    /// Bytes of entries, about: it is counted anew with every sweep, and never too few that this process wrote.
    bytes: AtomicU64,
}

impl Directory {
    /// # Errors
    /// It cannot be made, or written to.
    pub fn new(path: &str, most: u64) -> Result<Directory, String> {
        let root = PathBuf::from(path);
        let begun = || -> io::Result<()> {
            for folder in ["i", "t"] {
                make(&root.join(folder))?;
            }
            let probe = root.join("t").join(format!("{:032x}", fastrand::u128(..)));
            fs::write(&probe, b"")?;
            fs::remove_file(probe)
        };
        begun().map_err(|error| format!("{path}: {error}"))?;
        Ok(Directory { inner: Arc::new(Inner { root, most, bytes: AtomicU64::new(0) }) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|error| error.to_string())?;
        done.map_err(|error| error.to_string())
    }

    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let name = name.to_string();
        self.blocking(move |inner| absent(fs::read(inner.root.join(name)))).await
    }

    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        let name = name.to_string();
        self.blocking(move |inner| inner.put(&name, &bytes)).await
    }

    pub async fn remove(&self, name: &str) -> Result<(), String> {
        let name = name.to_string();
        self.blocking(move |inner| absent(fs::remove_file(inner.root.join(name))).map(|_| ())).await
    }

    pub async fn list(&self, under: &str, after: &str) -> Result<Page, String> {
        let (under, after) = (under.to_string(), after.to_string());
        let names = self.blocking(move |inner| inner.list(&under, &after)).await?;
        Ok(Page { names, more: false })
    }

    pub fn is_full(&self) -> bool {
        self.inner.bytes.load(Ordering::Relaxed) > self.inner.most
    }

    /// Counts what is there, and removes the oldest entries where that is too much.
    pub async fn tidy(&self) -> Result<(), String> {
        self.blocking(Inner::tidy).await
    }
}

impl Inner {
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.root.join(name);
        let draft = self.root.join("t").join(format!("{:032x}", fastrand::u128(..)));
        let written = (|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(bytes)?;
            drop(file);
            match fs::rename(&draft, &place) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    place.parent().map_or(Ok(()), make)?;
                    fs::rename(&draft, &place)
                }
                done => done,
            }
        })();
        match written {
            Ok(()) => self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed),
            Err(_) => {
                let _ = fs::remove_file(&draft);
                0
            }
        };
        written
    }

    fn list(&self, under: &str, after: &str) -> io::Result<Vec<String>> {
        let (folder, _) = under.rsplit_once('/').unwrap_or(("", under));
        let mut names = Vec::new();
        for found in absent(fs::read_dir(self.root.join(folder)))?.into_iter().flatten() {
            let Ok(name) = found?.file_name().into_string() else { continue };
            let name = format!("{folder}/{name}");
            if name.starts_with(under) && name.as_str() > after {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn tidy(&self) -> io::Result<()> {
        let known = self.bytes.load(Ordering::Relaxed);
        let now = SystemTime::now();
        for (path, _, written) in files(&self.root.join("t"))? {
            if now.duration_since(written).is_ok_and(|age| age > ABANDONED) {
                absent(fs::remove_file(path))?;
            }
        }
        let mut entries = Vec::new();
        for folder in absent(fs::read_dir(self.root.join("e")))?.into_iter().flatten() {
            entries.extend(files(&folder?.path())?);
        }
        let mut bytes: u64 = entries.iter().map(|(_, length, _)| length).sum();
        if bytes > self.most {
            entries.sort_unstable_by_key(|(_, _, written)| *written);
            let mut oldest = entries.into_iter();
            while bytes > self.most / 100 * LEFT
                && let Some((path, length, _)) = oldest.next()
            {
                absent(fs::remove_file(path))?;
                bytes -= length;
            }
        }
        // What was written meanwhile stays counted, some of it twice: nobody would make room for what was counted too low.
        self.bytes.fetch_add(bytes.wrapping_sub(known), Ordering::Relaxed);
        Ok(())
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Path, length and time of each file of a folder. What goes meanwhile is left out.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut found = Vec::new();
    for file in absent(fs::read_dir(folder))?.into_iter().flatten() {
        let file = file?;
        if let Some(about) = absent(file.metadata())?.filter(fs::Metadata::is_file) {
            found.push((file.path(), about.len(), about.modified()?));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_come_and_go() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::new(place.path().to_str().expect("UTF-8"), 1000).expect("opens");
        assert_eq!(directory.get("e/ab/x").await, Ok(None));
        assert_eq!(directory.remove("e/ab/x").await, Ok(()));
        directory.put("e/ab/x", vec![1; 600]).await.expect("is written");
        directory.put("i/x.1.a", Vec::new()).await.expect("is written");
        directory.put("i/y.1.a", Vec::new()).await.expect("is written");
        assert_eq!(directory.get("e/ab/x").await, Ok(Some(vec![1; 600])));
        let page = directory.list("i/", "i/x.1.a").await.expect("lists");
        assert_eq!((page.names, page.more), (vec!["i/y.1.a".to_string()], false));
        assert_eq!(directory.list("i/x.", "").await.expect("lists").names, ["i/x.1.a"]);
        assert!(!directory.is_full());
        directory.put("e/cd/y", vec![2; 500]).await.expect("is written");
        assert!(directory.is_full());
        directory.tidy().await.expect("tidies");
        assert_eq!(directory.get("e/ab/x").await, Ok(None));
        assert_eq!(directory.get("e/cd/y").await, Ok(Some(vec![2; 500])));
        assert!(!directory.is_full());
        assert_eq!(fs::read_dir(place.path().join("t")).expect("is there").count(), 0);
    }

    #[test]
    fn what_is_written_while_it_is_counted_is_counted() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::new(place.path().to_str().expect("UTF-8"), u64::MAX).expect("opens");
        let inner = &directory.inner;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..2000 {
                    inner.put(&format!("e/ab/{number}"), b"0123456789").expect("is written");
                }
            });
            while !writer.is_finished() {
                inner.tidy().expect("tidies");
                assert!(inner.bytes.load(Ordering::Relaxed) < u64::MAX / 2);
            }
        });
        assert!(inner.bytes.load(Ordering::Relaxed) >= 20_000);
        inner.tidy().expect("tidies");
        assert_eq!(inner.bytes.load(Ordering::Relaxed), 20_000);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(Directory::new(&format!("{}/x", file.path().display()), 1).is_err());
    }
}
