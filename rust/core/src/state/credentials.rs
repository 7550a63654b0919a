//! Provider credentials: slots that a snapshot refers to by id and that are filled by a push.

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

/// A secret value. Not printable, not serializable, wiped when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(value: Vec<u8>) -> Self {
        Secret(Zeroizing::new(value))
    }

    /// The bytes, for the request head and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Where the current value of one credential sits.
#[derive(Default)]
pub struct CredentialSlot {
    value: ArcSwapOption<Secret>,
}

impl CredentialSlot {
    pub fn push(&self, secret: Secret) {
        self.value.store(Some(std::sync::Arc::new(secret)));
    }

    /// Nothing was pushed yet, or what was has ended.
    pub fn is_empty(&self) -> bool {
        self.value.load().as_ref().is_none_or(|secret| secret.0.is_empty())
    }

    pub fn load(&self) -> arc_swap::Guard<Option<std::sync::Arc<Secret>>> {
        self.value.load()
    }
}
