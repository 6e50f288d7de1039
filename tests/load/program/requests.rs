//! The same kind of request, again and again, on so many connections.
//!
//! The closed loop sends the next request when the last one was answered: it finds the most that a
//! server can do. The open loop sends at a given rate whatever comes back, and counts the time from
//! the moment at which a request was due, so that a stall is seen by every request behind it.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, headers};
use crate::content::Random;
use crate::measure::Seen;
use crate::{Failure, images};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host and port of the server.
    #[arg(long)]
    server: String,
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Paths that are asked for in turn.
    #[arg(long)]
    path: Vec<String>,
    /// A file with one path a line, besides.
    #[arg(long)]
    paths: Option<std::path::PathBuf>,
    #[arg(long = "header", default_values_t = images::accept())]
    headers: Vec<String>,
    /// The status that is right.
    #[arg(long, default_value_t = 200)]
    expect: u16,
    #[arg(long, default_value_t = 64)]
    connections: u32,
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// What is not counted at the beginning.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Requests a second, on all connections: the open loop.
    #[arg(long)]
    rate: Option<f64>,
    /// So many requests on all connections instead of so many seconds.
    #[arg(long)]
    count: Option<u64>,
    /// Ask for the paths in no order instead of one after the other.
    #[arg(long)]
    shuffled: bool,
}

struct Work {
    arguments: Arguments,
    paths: Vec<String>,
    headers: HeaderMap,
    begun: Instant,
    counted_from: Instant,
    end: Instant,
}

pub(crate) async fn run(mut arguments: Arguments) -> Result<String, Failure> {
    let mut paths = std::mem::take(&mut arguments.path);
    if let Some(file) = &arguments.paths {
        paths.extend(std::fs::read_to_string(file)?.lines().map(str::to_owned));
    }
    if paths.is_empty() {
        return Err("there is no path to ask for".into());
    }
    let headers = headers(&arguments.headers)?;
    let begun = Instant::now();
    let warm_up = if arguments.count.is_some() { 0.0 } else { arguments.warm_up };
    let counted_from = begun + Duration::from_secs_f64(warm_up);
    let end = counted_from + Duration::from_secs_f64(arguments.seconds);
    let connections = u64::from(arguments.connections);
    let work = Arc::new(Work { arguments, paths, headers, begun, counted_from, end });
    let mut workers = JoinSet::new();
    for number in 0..connections {
        workers.spawn(work.clone().worker(number, connections));
    }
    let mut seen = Seen::default();
    while let Some(worker) = workers.join_next().await {
        seen.add(worker?);
    }
    let elapsed = match work.arguments.count {
        Some(_) => begun.elapsed(),
        None => end - counted_from,
    };
    Ok(seen.report(elapsed).to_string())
}

impl Work {
    async fn worker(self: Arc<Self>, number: u64, connections: u64) -> Seen {
        let Arguments { method, expect, rate, count, shuffled, .. } = &self.arguments;
        let mut connection = Connection::to(&self.arguments.server);
        let mut seen = Seen::default();
        let mut random = Random::new(number + 1);
        for turn in 0.. {
            let mine = number + turn * connections;
            if count.is_some_and(|count| mine >= count) {
                break;
            }
            #[expect(clippy::cast_precision_loss, reason = "a run has fewer than 2^52 requests")]
            let due = rate.map(|rate| self.begun + Duration::from_secs_f64(mine as f64 / rate));
            if let Some(due) = due {
                sleep_until(due).await;
            }
            let sent = due.unwrap_or_else(Instant::now);
            if count.is_none() && sent >= self.end {
                break;
            }
            let at = if *shuffled { random.next() } else { mine };
            let at = usize::try_from(at % self.paths.len() as u64).unwrap_or(0);
            let path = &self.paths[at];
            let answer = connection.ask(method.clone(), path, &self.headers).await;
            let answer = answer.and_then(|answer| answer.expect(*expect, path));
            let now = Instant::now();
            if sent < self.counted_from || (count.is_none() && rate.is_none() && now > self.end) {
                continue;
            }
            match answer {
                Ok(_) => seen.took(now - sent),
                Err(error) => seen.failed(&error),
            }
        }
        seen
    }
}
