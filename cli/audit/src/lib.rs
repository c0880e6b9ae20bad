//! The audit records of servers, read from the lines of any host, and what they come to.

#![forbid(unsafe_code)]

mod distinct;
mod line;
mod record;
mod stage;
mod tally;

pub use distinct::{Count, Owners, Periods};
pub use line::{Finder, Line};
pub use record::{Device, Record, Stages, Text, VERSION};
pub use stage::Durations;
pub use tally::{Counts, DAY, Decisions, HOUR, Lines, OK, Tally, date, is_system};
