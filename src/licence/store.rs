//! The operator's work on the key-value store.

use serde_json::json;

use super::audit::Audit;
use super::{Error, LicenceServer};
use crate::platform::Platform;
use crate::session;
use crate::sweep::{self, Step, Swept};

/// What the audit calls this part of the server.
const STORE: &str = "store";

impl<P: Platform> LicenceServer<P> {
    /// Makes a step of a [sweep](sweep::step) of the key-value store. What it deleted is written to the audit.
    ///
    /// # Errors
    /// [`Error::Request`] for a step after something else, and a store that does not answer.
    pub async fn sweep_store(&self, request_id: &str, step: Step<'_>) -> Result<Swept, Error> {
        let swept = sweep::step(&self.platform, step).await;
        let swept = swept.map_err(|error| Error::from(session::Error::from(error)));
        let swept = swept
            .and_then(|swept| swept.ok_or(Error::Request("`after` is not the `next` of a step")));
        if step.is_dry {
            return swept;
        }
        let mut audit = Audit::new(STORE, self.platform.now(), request_id);
        audit.details.push(("action", "sweep".into()));
        if let Ok(swept) = &swept {
            audit.details.push(("deleted", json!(swept.deleted)));
        }
        self.audited(audit, swept)
    }
}
