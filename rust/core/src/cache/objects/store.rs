//! Where objects lie, whichever kind of place it is.

use std::sync::Arc;

use super::bucket::Bucket;
use super::directory::Directory;
use super::{Place, Target};
use crate::state::CredentialSlot;

/// Names in order, below a prefix.
pub struct Page {
    pub names: Vec<String>,
    /// There are others behind the last one.
    pub more: bool,
}

pub enum Store {
    Directory(Directory),
    Bucket(Box<Bucket>),
}

impl Store {
    /// # Errors
    /// The place is none.
    pub fn new(target: &Target, credential: Arc<CredentialSlot>) -> Result<Store, String> {
        Ok(match &target.place {
            Place::Directory { path, most } => Store::Directory(Directory::new(path, *most)?),
            Place::Bucket { url, region, .. } => Store::Bucket(Box::new(Bucket::new(target, url, region, credential)?)),
        })
    }

    /// # Errors
    /// Why it cannot be told.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self {
            Store::Directory(directory) => directory.get(name).await,
            Store::Bucket(bucket) => bucket.get(name).await,
        }
    }

    /// # Errors
    /// Why it is not there.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        match self {
            Store::Directory(directory) => directory.put(name, bytes).await,
            Store::Bucket(bucket) => bucket.put(name, &bytes).await,
        }
    }

    /// Removes it, if it is there.
    ///
    /// # Errors
    /// Why it may still be there.
    pub async fn remove(&self, name: &str) -> Result<(), String> {
        match self {
            Store::Directory(directory) => directory.remove(name).await,
            Store::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// Names that begin with `under`, behind `after`.
    ///
    /// # Errors
    /// Why they cannot be told.
    pub async fn list(&self, under: &str, after: &str) -> Result<Page, String> {
        match self {
            Store::Directory(directory) => directory.list(under, after).await,
            Store::Bucket(bucket) => bucket.list(under, after).await,
        }
    }
}
