//! The encryption contract: which key is for which tracks (SPEKE 2.0, "Encryption contract").

use super::Refusal;
use crate::cpix::document::Document;
use crate::cpix::xml::{Element, Namespace};
use crate::id::Kid;

use Namespace::Cpix;

/// A rule: this key is for tracks of this type.
pub struct Rule<'d> {
    /// The KID.
    pub kid: Kid,
    /// `intendedTrackType`.
    pub track_type: &'d str,
}

/// The type that stands for all tracks.
const ALL: &str = "ALL";

/// Reads the rules of a document.
///
/// # Errors
/// [`Refusal::MissingContract`] and [`Refusal::MalformedContract`].
pub fn read(document: &Document) -> Result<Vec<Rule<'_>>, Refusal> {
    let malformed = || Refusal::MalformedContract;
    let elements = || document.in_list("ContentKeyUsageRuleList", "ContentKeyUsageRule");
    let has_filter = |rule: &Element| filters(rule).any(|_| true);
    if !elements().any(has_filter) {
        return Err(Refusal::MissingContract);
    }
    let known: Vec<&str> = document
        .in_list("ContentKeyPeriodList", "ContentKeyPeriod")
        .filter_map(|period| period.attribute("id"))
        .collect();
    let mut rules = Vec::new();
    // The types of each period: in every one, a type has one key.
    let mut seen: Vec<(Vec<&str>, &str)> = Vec::new();
    for element in elements() {
        let kid = element.attribute("kid").and_then(Kid::from_text);
        let kid = kid.ok_or_else(malformed)?;
        let track_type = element.attribute("intendedTrackType");
        let track_type = track_type.filter(|name| !name.trim().is_empty());
        let track_type = track_type.ok_or_else(malformed)?;
        let mut periods = Vec::new();
        for period in element.children(Cpix, "KeyPeriodFilter") {
            let id = period.attribute("periodId").ok_or_else(malformed)?;
            if !known.contains(&id) {
                return Err(malformed());
            }
            periods.push(id);
        }
        periods.sort_unstable();
        let others = seen.iter().filter(|(of, _)| *of == periods);
        let is_alone = |other: &str| track_type != ALL && other != ALL && track_type != other;
        if !{ others }.all(|(_, other)| is_alone(other)) || !fits(element, track_type) {
            return Err(malformed());
        }
        seen.push((periods, track_type));
        rules.push(Rule { kid, track_type });
    }
    Ok(rules)
}

/// The filters that SPEKE has.
fn filters(rule: &Element) -> impl Iterator<Item = &Element> {
    let names = ["VideoFilter", "AudioFilter"];
    let children = rule.all_children().iter();
    children.filter(move |child| names.iter().any(|name| child.is(Cpix, name)))
}

/// Whether the filters of a rule are those of its type: one for each part of a name such as `SD+HD1`, and one of each
/// kind without limits for all tracks.
fn fits(rule: &Element, track_type: &str) -> bool {
    let has = |name: &str| rule.children(Cpix, name).next().is_some();
    if has("LabelFilter") || has("BitrateFilter") {
        return false;
    }
    let count = filters(rule).count();
    match track_type {
        ALL => {
            let is_bare = |filter: &Element| filter.attributes().is_empty();
            count == 2 && has("VideoFilter") && has("AudioFilter") && filters(rule).all(is_bare)
        }
        name => count == name.split('+').count(),
    }
}
