//! Audit records, in the lines of any host.

use keylet_audit::{Finder, Line, VERSION};
use serde_json::Value;

/// A line of a log. Records are of the version that is read, and a line that is a record has it.
pub fn audit(data: &[u8]) {
    let mut found = 0;
    let line = Finder::default().read(data, &mut |record| {
        assert_eq!(record.audit, VERSION);
        found += 1;
    });
    if line == Line::Audit {
        assert!(found > 0, "a line with records has one");
    }
    if is_record(data) {
        assert!(found > 0, "a record that is the whole line is found");
    }
}

/// Whether a line is an audit record of this version, by another reader.
fn is_record(line: &[u8]) -> bool {
    let Ok(Value::Object(record)) = serde_json::from_slice(line) else {
        return false;
    };
    let text = |name: &str| record.get(name).is_some_and(Value::is_string);
    // Other members that a report reads may be of a wrong type.
    record.len() == 4
        && record.get("audit") == Some(&VERSION.into())
        && record.get("time").is_some_and(Value::is_u64)
        && text("drm")
        && text("code")
}
