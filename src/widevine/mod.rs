//! Widevine, by the licence service of the content provider: this server decides, and Google's service makes the licence.
//!
//! A challenge is read as far as it is in the clear: what it is, the KIDs, the content id. The terms become a message of
//! Widevine's proxy interface, which is signed, and of the service's answer only the licence goes to the player.

mod answer;
mod certificate;
mod challenge;
mod config;
mod enforce;
mod message;
mod module;
pub mod signature;

pub use certificate::FAMILIES;
pub use challenge::{Challenge, Kind, is_certificate_request};
pub use config::VARIABLE;
pub use message::license_fields;
pub use module::Widevine;
