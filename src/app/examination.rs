//! `longshore doctor`: prints what an examination finds.

use std::sync::Arc;

use serde_json::json;

use super::Output;
use crate::clock::SystemClock;
use crate::doctor::{Finding, Plan, Unreachable, examine};

/// Examines a deployment. Returns whether there was nothing to find.
pub async fn doctor(
    plan: Plan,
    as_json: bool,
    output: &mut Output<'_>,
) -> Result<bool, Unreachable> {
    let mut sink = |finding: &Finding| {
        output(&if as_json { format!("{}\n", json!(finding)) } else { format!("{finding}\n") });
    };
    let summary = examine(plan, Arc::new(SystemClock), &mut sink).await?;
    if as_json {
        output(&format!("{}\n", json!({ "summary": summary })));
    } else {
        output(&summary.to_string());
    }
    Ok(summary.findings == 0)
}
