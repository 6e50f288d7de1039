//! `longshore doctor`: asks a running deployment from outside what a person on call would ask.
//!
//! It knows the registry only as its clients do, and its admin ports as monitoring does: nothing
//! here reads the store or the settings of the deployment. Without [`Plan::writes`] it sends no
//! request that could change anything.

mod address;
mod bodies;
mod client;
mod finding;
mod login;
mod processes;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{DATE, WWW_AUTHENTICATE};
use serde::Serialize;

pub use self::address::{Address, AddressError};
pub use self::finding::{Class, Finding};
pub use self::login::Login;

use self::address::Place;
use self::client::{Answer, Asked, Client, Failure};
use self::login::Challenge;
use crate::clock::Clock;
use crate::oci::RepositoryName;

/// How often the registry is asked the same, to meet every process behind a load balancer.
const ASKED_TIMES: usize = 12;
/// By how much two clocks may differ: `Date` is in whole seconds, and the answer takes a while.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(30);
/// How long before its end a certificate has to be renewed.
const CERTIFICATE_LEFT_MIN: Duration = Duration::from_hours(14 * 24);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where clients reach the registry.
    pub registry: Address,
    /// The admin ports of its processes.
    pub admins: Vec<Address>,
    pub login: Option<Login>,
    /// Where it reads, and writes if it may.
    pub repository: RepositoryName,
    /// Whether it may push a blob and an upload, and delete them.
    pub writes: bool,
}

/// The registry gives no answer at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be reached from here: {1}")]
pub struct Unreachable(Address, String);

/// What was looked at, and what it was like.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// What was looked at.
    pub checked: Vec<&'static str>,
    /// What was not, and why.
    pub left_out: BTreeMap<&'static str, &'static str>,
    /// How many findings there were.
    pub findings: usize,
}

/// Takes each finding when it is found.
pub type Sink<'a> = dyn FnMut(&Finding) + Send + 'a;

/// An examination that goes on.
struct Doctor<'a> {
    plan: Plan,
    client: Client,
    clock: Arc<dyn Clock>,
    summary: Summary,
    sink: &'a mut Sink<'a>,
}

/// Examines a deployment. Every finding goes to the sink when it is found.
pub async fn examine<'a>(
    plan: Plan,
    clock: Arc<dyn Clock>,
    sink: &'a mut Sink<'a>,
) -> Result<Summary, Unreachable> {
    let client = Client::new();
    let mut doctor = Doctor { plan, client, clock, summary: Summary::default(), sink };
    doctor.run().await?;
    Ok(doctor.summary)
}

impl Doctor<'_> {
    async fn run(&mut self) -> Result<(), Unreachable> {
        let entry = self.registry("/v2/");
        let first = self.client.send(Asked::get(entry)).await;
        let first = first.map_err(|error| self.unreachable(&error))?;
        let before = self.look_at_processes().await;
        self.check_clock(&first);
        self.check_certificate(&first);
        if let Some(challenge) = self.check_entry(&first).await {
            self.check_bodies().await;
            self.check_access(&challenge).await;
        }
        self.compare_processes(before).await;
        Ok(())
    }

    fn unreachable(&self, failure: &Failure) -> Unreachable {
        Unreachable(self.plan.registry.clone(), failure.to_string())
    }

    fn registry(&self, path: impl Into<String>) -> Place {
        self.plan.registry.at(path)
    }

    /// A path of the repository: `/v2/NAME/` and the rest.
    fn in_repository(&self, rest: &str) -> Place {
        self.registry(format!("/v2/{}/{rest}", self.plan.repository))
    }

    fn find(&mut self, class: Class, what: impl Into<String>, seen: impl Into<String>) {
        self.report(&Finding::new(class, what, seen));
    }

    fn report(&mut self, finding: &Finding) {
        self.summary.findings += 1;
        (self.sink)(finding);
    }

    fn checked(&mut self, what: &'static str) {
        self.summary.checked.push(what);
    }

    fn leave_out(&mut self, what: &'static str, why: &'static str) {
        self.summary.left_out.insert(what, why);
    }

    fn check_clock(&mut self, first: &Answer) {
        let date = first.text(DATE);
        let Ok(there) = httpdate::parse_http_date(date) else {
            self.leave_out("clock", "the answer has no Date");
            return;
        };
        self.checked("clock");
        let here = self.clock.now();
        let (difference, direction) = match there.duration_since(here) {
            Ok(ahead) => (ahead, "ahead of"),
            Err(error) => (error.duration(), "behind"),
        };
        if difference > CLOCK_DIFFERENCE_MAX {
            let seconds = difference.as_secs();
            let what = format!("the clock of the server is {seconds} s {direction} this one");
            self.find(Class::Clock, what, format!("Date: {date}"));
        }
    }

    fn check_certificate(&mut self, first: &Answer) {
        let Some(ends) = first.certificate_ends else {
            if !self.plan.registry.secure {
                self.leave_out("certificate", "the address is http");
            }
            return;
        };
        self.checked("certificate");
        let left: SystemTime = self.clock.now() + CERTIFICATE_LEFT_MIN;
        if ends < left {
            let what = "the certificate of the server ends within 14 days";
            self.find(Class::Certificate, what, httpdate::fmt_http_date(ends));
        }
    }

    /// The answer to `/v2/`, and whether it is always the same. `None` if this is no registry.
    async fn check_entry(&mut self, first: &Answer) -> Option<Challenge> {
        self.checked("entry");
        let known = first.status == StatusCode::OK || first.status == StatusCode::UNAUTHORIZED;
        if !known || !first.is_of_registry() {
            let what = format!("{} is not answered as a registry does", self.registry("/v2/"));
            let seen = if known {
                format!("{} without Docker-Distribution-Api-Version", first.seen())
            } else {
                failed(first)
            };
            self.find(Class::NotARegistry, what, seen);
            return None;
        }
        self.ask_again(first).await;
        if first.status == StatusCode::OK {
            return Some(Challenge::None);
        }
        let Some(challenge) = Challenge::of(first) else {
            let what = "a 401 tells clients no way to log in";
            let shown = first.text(WWW_AUTHENTICATE);
            let seen = if shown.is_empty() { "no WWW-Authenticate" } else { shown };
            self.find(Class::NoChallenge, what, seen);
            return None;
        };
        match challenge.realm(&self.plan.registry) {
            None => {}
            Some(Err(finding)) => self.report(&finding),
            Some(Ok(realm)) => {
                // Any answer will do: without a user the token server may refuse.
                if let Err(error) = self.client.send(Asked::get(realm.clone())).await {
                    let what = format!("the token server {realm} cannot be reached from here");
                    self.find(Class::Realm, what, error.to_string());
                }
            }
        }
        Some(challenge)
    }

    /// Asks as often as it takes to meet all of a few processes.
    async fn ask_again(&mut self, first: &Answer) {
        let shown = |answer: &Answer| {
            let challenge = answer.text(WWW_AUTHENTICATE);
            format!("{} {challenge}", answer.status.as_u16()).trim_end().to_owned()
        };
        let mut answers = BTreeMap::from([(shown(first), 1)]);
        for _ in 1..ASKED_TIMES {
            let answer = self.client.send(Asked::get(self.registry("/v2/"))).await;
            let shown = answer.map_or_else(|error| error.to_string(), |answer| shown(&answer));
            *answers.entry(shown).or_default() += 1;
        }
        if answers.len() > 1 {
            let seen = answers.iter().map(|(answer, times)| format!("{times} times {answer}"));
            let seen = seen.collect::<Vec<_>>().join("; ");
            let what = format!("{ASKED_TIMES} equal requests get different answers");
            self.find(Class::AnswersDiffer, what, seen);
        }
    }

    /// Whether the user may read the repository, and, if that is wanted, what writing does.
    async fn check_access(&mut self, challenge: &Challenge) {
        if self.plan.login.is_none() && *challenge != Challenge::None {
            self.leave_out("access", "there is no --user");
        } else {
            self.checked("access");
            if !self.check_read(challenge).await {
                return;
            }
        }
        if self.plan.writes {
            self.check_writes(challenge).await;
        } else {
            for what in ["upload", "location", "pull", "redirect"] {
                self.leave_out(what, "there is no --write");
            }
        }
    }

    /// Reads the tags of the repository. False if the login is refused.
    async fn check_read(&mut self, challenge: &Challenge) -> bool {
        let tags = Asked::get(self.in_repository("tags/list"));
        let Some(asked) = self.authorized(challenge, "pull", tags).await else { return false };
        let repository = self.plan.repository.clone();
        // As often as it takes that each process has asked Redis and the store.
        for _ in 0..ASKED_TIMES {
            let answer = match self.client.send(asked.clone()).await {
                Ok(answer) => answer,
                Err(error) => {
                    let what = format!("a read of the tags of {repository} gets no answer");
                    self.find(Class::Pull, what, error.to_string());
                    return false;
                }
            };
            match answer.status.as_u16() {
                // 404: there is no such repository yet.
                200 | 404 => continue,
                401 if self.plan.login.is_some() => {
                    self.find(Class::Login, "the user or the password is refused", answer.seen());
                    return false;
                }
                401 | 403 => {
                    let what = format!("the user may not read {repository}");
                    self.find(Class::Access, what, failed(&answer));
                }
                _ => {
                    let what = format!("the tags of {repository} cannot be read");
                    self.find(Class::Store, what, failed(&answer));
                }
            }
            break;
        }
        true
    }

    /// A request with the login for these actions. `None`, and a finding, if there is none.
    async fn authorized(
        &mut self,
        challenge: &Challenge,
        actions: &str,
        asked: Asked,
    ) -> Option<Asked> {
        let scope = format!("repository:{}:{actions}", self.plan.repository);
        let Plan { registry, login, .. } = &self.plan;
        match challenge.answer(&self.client, registry, login.as_ref(), &scope).await {
            Ok(login) => Some(asked.authorized(login)),
            Err(finding) => {
                // The realm was reported when the challenge was looked at.
                if finding.class != Class::Realm {
                    self.report(&finding);
                }
                None
            }
        }
    }
}

/// An answer that should have been another: its status, and its message if the registry wrote it.
fn failed(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match body["errors"][0]["message"].as_str() {
        Some(message) => format!("{}: {message}", answer.seen()),
        None if answer.is_of_registry() => answer.seen(),
        None => format!("{} from {}", answer.seen(), answer.server()),
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "checked {}", self.checked.join(", "))?;
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (what, why) in &self.left_out {
            reasons.entry(why).or_default().push(what);
        }
        for (why, what) in reasons {
            writeln!(f, "left out {}: {why}", what.join(", "))?;
        }
        match self.findings {
            0 => writeln!(f, "no findings"),
            1 => writeln!(f, "1 finding"),
            findings => writeln!(f, "{findings} findings"),
        }
    }
}
