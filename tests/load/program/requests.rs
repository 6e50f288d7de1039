//! The same kind of request, again and again, on so many connections.
//!
//! The closed loop sends the next request when the last one was answered: it finds the most that a
//! server can do. The open loop sends at a given rate whatever comes back, and counts the time from
//! the moment at which a request was due, so that a stall is seen by every request behind it.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, Method};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::{Connection, headers};
use crate::content::Random;
use crate::measure::Seen;
use crate::popularity::Popularity;
use crate::{Failure, images};

/// The shortest sleep between two requests that are due: the kernel's own slack is half of it.
const PACE: Duration = Duration::from_micros(100);

/// Requests that are due on one connection and not sent yet.
const DUE_MAX: usize = 4096;

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
    /// A bearer token.
    #[arg(long)]
    token: Option<String>,
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
    /// Ask for some paths more often than for others, by their rank to this power, instead of for
    /// one after the other. With 0 all are alike, in no order.
    #[arg(long)]
    zipf: Option<f64>,
}

struct Work {
    arguments: Arguments,
    paths: Vec<String>,
    popularity: Option<Popularity>,
    headers: HeaderMap,
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
    let token = arguments.token.iter().map(|token| format!("authorization: Bearer {token}"));
    let lines: Vec<_> = arguments.headers.iter().cloned().chain(token).collect();
    let headers = headers(&lines)?;
    let popularity = arguments.zipf.map(|power| Popularity::of(paths.len(), power));
    let begun = Instant::now();
    let warm_up = if arguments.count.is_some() { 0.0 } else { arguments.warm_up };
    let counted_from = begun + Duration::from_secs_f64(warm_up);
    let end = counted_from + Duration::from_secs_f64(arguments.seconds);
    let (connections, rate) = (u64::from(arguments.connections), arguments.rate);
    let work = Arc::new(Work { arguments, paths, popularity, headers, counted_from, end });
    let mut workers = JoinSet::new();
    let mut clocks = Vec::new();
    for number in 0..connections {
        let due = rate.map(|_| {
            let (clock, due) = mpsc::channel(DUE_MAX);
            clocks.push(clock);
            due
        });
        workers.spawn(work.clone().worker(number, due));
    }
    if let Some(rate) = rate {
        let (begun, end) = (begun.into_std(), end.into_std());
        std::thread::spawn(move || pace(&clocks, rate, begun, end));
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

/// Says when a request is due, to one worker after the other. A thread of its own, because timers
/// of the runtime go by milliseconds, and the requests of one would leave at once.
fn pace(
    clocks: &[mpsc::Sender<Instant>],
    rate: f64,
    begun: std::time::Instant,
    end: std::time::Instant,
) {
    for (number, clock) in (0_u32..).zip(clocks.iter().cycle()) {
        let due = begun + Duration::from_secs_f64(f64::from(number) / rate);
        if due >= end {
            break;
        }
        let left = due.saturating_duration_since(std::time::Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left.max(PACE));
        }
        if clock.blocking_send(due.into()).is_err() {
            break;
        }
    }
}

impl Work {
    async fn worker(
        self: Arc<Self>,
        number: u64,
        mut clock: Option<mpsc::Receiver<Instant>>,
    ) -> Seen {
        let Arguments { method, expect, count, connections, .. } = &self.arguments;
        let mut connection = Connection::to(&self.arguments.server);
        let mut seen = Seen::default();
        let mut random = Random::new(number + 1);
        for turn in 0.. {
            let mine = number + turn * u64::from(*connections);
            if count.is_some_and(|count| mine >= count) {
                break;
            }
            let sent = match &mut clock {
                Some(clock) => match clock.recv().await {
                    Some(due) => due,
                    None => break,
                },
                None => Instant::now(),
            };
            if count.is_none() && sent >= self.end {
                break;
            }
            let path = match &self.popularity {
                Some(popularity) => &self.paths[popularity.draw(&mut random)],
                None => &self.paths[usize::try_from(mine).unwrap_or(0) % self.paths.len()],
            };
            let answer = connection.ask(method.clone(), path, &self.headers).await;
            let answer = answer.and_then(|answer| answer.expect(*expect, path));
            let now = Instant::now();
            let late = count.is_none() && clock.is_none() && now > self.end;
            if sent < self.counted_from || late {
                continue;
            }
            match answer {
                Ok(_) => seen.observe(now - sent),
                Err(error) => seen.failed(&error),
            }
        }
        seen
    }
}
