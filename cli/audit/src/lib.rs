//! The audit records of servers, read from the lines of any host.

#![forbid(unsafe_code)]

mod line;
mod record;

pub use line::{Finder, Line};
pub use record::{Device, Record, Stages, Text, VERSION};
