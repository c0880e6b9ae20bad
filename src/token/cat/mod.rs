//! Common Access Tokens (CTA-5007): the tokens that content delivery networks check, a CWT (RFC 8392) in COSE
//! (RFC 9052) in base64url. They are read where the variable `dialects` names `cat`.
//!
//! A claim is honoured, or it refuses the token; those that only say what happens beside a licence are not read.
//! `docs/cat.md` has the list.

mod cbor;
mod claims;
mod cose;
mod place;
mod uri;

pub use cbor::{Error as CborError, Value as Cbor};
pub(crate) use claims::Claims;
pub use claims::label_of;
pub use claims::name_of;
pub use cose::{UntrustedCat, is_shaped};
pub(crate) use place::locate;
pub use place::{Asked, HEADER};
pub use uri::{UriRule, VARIABLE};

/// The name of the dialect in the variable `dialects`.
pub const NAME: &str = "cat";
