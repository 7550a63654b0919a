//! Tokens in the place of values, and the way back: a provider reads `<EMAIL_1>`, the caller reads the address.
//!
//! [`tokens`] gives values their tokens while a request is looked at, [`find`] finds tokens in what a model says, [`whole`]
//! and [`stream`] put the values back into the answer. What a token stands for is known to the request it was made in, or to
//! its [`tenant`], whose values the store keeps ([`keep`]).

mod find;
mod keep;
mod stream;
mod tenant;
mod tokens;
mod whole;

pub use keep::wait;
#[cfg(test)]
pub use stream::Restorer;
pub use tenant::{Vault, tenant as tenant_of};
pub use tokens::Tokens;
pub use whole::{answer, restored};
