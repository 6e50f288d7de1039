//! Did you mean?

/// What to say about something that is not known.
pub(super) fn unknown(
    what: &str,
    written: &str,
    candidates: impl Iterator<Item = String>,
) -> String {
    match nearest(written, candidates) {
        Some(suggestion) => format!("unknown {what}: did you mean {suggestion}?"),
        None => format!("unknown {what}: `longshore config-reference` prints all of them"),
    }
}

/// The candidate that is closest to what was written, if any is close.
///
/// A key whose last part is right but whose section is not counts as close.
fn nearest(written: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let (distance, candidate) = candidates
        .map(|candidate| {
            let elsewhere = last(written) == last(&candidate);
            let distance = distance(written, &candidate);
            (if elsewhere { distance.min(1) } else { distance }, candidate)
        })
        .min()?;
    (distance <= 1.max(written.len() / 4)).then_some(candidate)
}

/// How many characters must be put in, taken out or changed (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let changed = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
