//! PlayReady, by the licence service of the content provider: this server decides, and the service makes the licence.
//!
//! A challenge is read as far as it is in the clear: KIDs, checksums, custom data. It is signed, so it goes to the service
//! octet for octet. The terms go beside it, in the form of the kind of service: the query of Microsoft's test server, or
//! Axinom's message. A service that is told nothing gets the challenge alone, and terms that it would have to know refuse.

mod answer;
mod axinom;
mod cfg;
mod challenge;
mod config;
mod enforce;
mod module;
mod rights;
mod soap;

pub use cfg::license_fields;
pub use challenge::{Action, Algorithm, Challenge, HeaderKey, token_in};
pub use config::VARIABLE;
pub use module::PlayReady;
pub use rights::Rights;
pub use soap::fault;
