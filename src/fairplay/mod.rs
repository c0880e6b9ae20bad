//! The FairPlay Streaming Key Security Module: SPC in, CKC out.
//!
//! Integers on the wire are big-endian. Types carry the state of the work: bytes become a
//! [`spc::SpcContainer`], that an [`spc::OpenedSpc`], that an [`spc::VerifiedSpc`], and only the
//! last can make a CKC. The eight steps in order are in [`ksm`].

pub mod certificate;
pub mod check_in;
pub mod cipher;
pub mod ckc;
pub mod client;
pub mod credentials;
pub mod d_function;
pub mod device;
pub mod duration;
mod enforce;
pub mod error;
pub mod inspect;
pub mod ksm;
pub mod mistake;
mod module;
pub mod output_protection;
pub mod rules;
pub mod session_key;
pub mod spc;
pub mod tag;
pub mod tllv;
pub mod wrapping;

pub use error::{Error, FPS_STATUS};
pub use module::FairPlay;
