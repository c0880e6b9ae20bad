//! FairPlay's configuration.

use serde::Deserialize;
use serde_json::Value;

use super::Reading;
use crate::encoding;
use crate::entitlement::Terms;

/// `#Microsoft.Media.ContentKeyPolicyFairPlayConfiguration`, as far as it is about terms. A duration
/// of zero means no limit.
///
/// | `rentalAndLeaseKeyType` | terms |
/// |---|---|
/// | `Undefined` | `persist: false` |
/// | `PersistentUnlimited` | `persist` |
/// | `PersistentLimited` | `persist`, `storage_seconds` = `rentalDuration` |
/// | `DualExpiry` | `persist`, `storage_seconds` = `storageDurationSeconds`, `playback_seconds` = `playbackDurationSeconds` |
///
/// # Errors
/// A configuration that is not of that shape.
pub(super) fn read(configuration: &Value) -> Result<Reading, String> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Configuration {
        #[serde(rename = "@odata.type")]
        _type: Option<String>,
        rental_and_lease_key_type: Option<String>,
        rental_duration: Option<u64>,
        offline_rental_configuration: Option<Offline>,
    }
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Offline {
        playback_duration_seconds: Option<u64>,
        storage_duration_seconds: Option<u64>,
    }
    let configuration: Configuration =
        encoding::from_value(configuration.clone()).map_err(|reason| reason.to_string())?;
    let offline = configuration
        .offline_rental_configuration
        .unwrap_or_default();
    // 0 means no limit.
    let seconds = |name: &str, duration: Option<u64>| {
        let seconds = duration.filter(|seconds| *seconds > 0);
        seconds
            .map(u32::try_from)
            .transpose()
            .map_err(|_| format!("`{name}` is more than 4294967295 seconds"))
    };
    let mut terms = Terms::default();
    match configuration.rental_and_lease_key_type.as_deref() {
        None => {}
        Some("Undefined") => terms.persist = Some(false),
        Some("PersistentUnlimited") => terms.persist = Some(true),
        Some("PersistentLimited") => {
            terms.persist = Some(true);
            terms.storage_seconds = seconds("rentalDuration", configuration.rental_duration)?;
        }
        Some("DualExpiry") => {
            terms.persist = Some(true);
            terms.storage_seconds =
                seconds("storageDurationSeconds", offline.storage_duration_seconds)?;
            terms.playback_seconds =
                seconds("playbackDurationSeconds", offline.playback_duration_seconds)?;
        }
        Some(_) => {
            return Err(
                "`rentalAndLeaseKeyType` is none of Undefined, PersistentUnlimited, PersistentLimited, DualExpiry"
                    .to_owned(),
            );
        }
    }
    Ok(Reading {
        terms: Some(terms),
        ..Reading::default()
    })
}
