//! What the commands print.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::{Class, Finding, Level, Repair, Summary};
use crate::usage::{self, Explained, Sum};

/// A line for a finding. In text, information is only counted.
pub(super) fn finding(finding: &Finding, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(finding));
    }
    if finding.level == Level::Information {
        return String::new();
    }
    let repair = match &finding.repair {
        None => String::new(),
        Some(Repair::Done) => " (repaired)".to_owned(),
        Some(Repair::NotNeeded) => " (no longer so)".to_owned(),
        Some(Repair::Failed(why)) => format!(" (not repaired: {why})"),
    };
    format!("{} {}: {}{repair}\n", finding.class.name(), finding.key, finding.what)
}

pub(super) fn summary(summary: &Summary, document: &Value, as_json: bool) -> String {
    if as_json {
        return format!("{document}\n");
    }
    let mut text = String::new();
    let checked = summary.checked.iter().map(|(kind, count)| format!("{count} {kind}"));
    let _ = writeln!(text, "checked {}", checked.collect::<Vec<_>>().join(", "));
    for class in Class::ALL {
        let Some(count) = summary.found.get(class) else { continue };
        let level = match class.level() {
            Level::Damage => "damage",
            Level::Information => "information",
        };
        let _ = writeln!(text, "{level}: {count} {}: {}", class.name(), class.advice());
    }
    if summary.unnamed_bytes > 0 {
        let _ = writeln!(text, "{} bytes of data have no name", summary.unnamed_bytes);
    }
    if summary.repaired > 0 {
        let _ = writeln!(text, "{} repaired", summary.repaired);
    }
    if summary.damaged() == 0 {
        text.push_str("no damage\n");
    }
    text
}

pub(super) fn usage(explained: &Explained, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(explained));
    }
    let mut text = String::new();
    let _ = writeln!(text, "{:>14}  {:>20}  class", "objects", "bytes");
    rows(&mut text, &explained.classes, "");
    let Sum { objects, bytes } = explained.total;
    let _ = writeln!(text, "{objects:>14}  {bytes:>20}  total");
    for (group, classes) in &explained.groups {
        let group = match group.as_str() {
            "" => "(no repository)",
            usage::SEVERAL => "(several)",
            name => name,
        };
        rows(&mut text, classes, &format!("{group} "));
    }
    let Sum { objects, bytes } = explained.multiparts;
    let unknown = explained.unknown_multiparts;
    if objects + unknown > 0 {
        let _ = writeln!(
            text,
            "beside these: {objects} multipart uploads in progress with {bytes} bytes, and \
             {unknown} that no upload session names"
        );
    }
    text
}

fn rows(text: &mut String, classes: &BTreeMap<usage::Class, Sum>, group: &str) {
    for (class, Sum { objects, bytes }) in classes {
        let _ = writeln!(text, "{objects:>14}  {bytes:>20}  {group}{}", word(class));
    }
}

/// The name of a class, as in JSON.
fn word(class: &impl Serialize) -> String {
    json!(class).as_str().unwrap_or_default().to_owned()
}
