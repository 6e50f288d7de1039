//! What `longshore doctor` can find, and what to do about each.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! classes {
    ($($class:ident $name:literal: $advice:literal,)+) => {
        /// A kind of finding. docs/doctor.md explains each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Class {
            $($class,)+
        }

        impl Class {
            pub const ALL: &'static [Self] = &[$(Self::$class),+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$class => $name,)+ }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$class => $advice,)+ }
            }
        }
    };
}

classes! {
    NotARegistry "not-a-registry":
        "check the address, and that the proxy passes /v2/ and the headers of the answers on",
    AnswersDiffer "answers-differ":
        "ask each process by itself, and give its admin port with --admin",
    NoChallenge "no-challenge":
        "let the proxy pass WWW-Authenticate on, and ask for no login of its own",
    Realm "realm":
        "let the proxy send Host with its port and X-Forwarded-Proto, name the proxy in \
         server.trusted_proxies, or write access.token.realm as a whole URL",
    Login "login":
        "check the user and the password; the log of the registry has the reason in `auth`",
    Access "access":
        "give the user the right, or choose another --repository: longshore access explain says \
         which rule decides",
    Clock "clock":
        "synchronize the clocks: tokens and presigned URLs have times in them",
    Certificate "certificate":
        "renew the certificate",
    BodyLimit "body-limit":
        "let the proxy take bodies of any length (nginx: client_max_body_size 0)",
    BodyBuffered "body-buffered":
        "let the proxy pass bodies on as they arrive (nginx: proxy_request_buffering off)",
    Location "location":
        "let the proxy send Host with its port and X-Forwarded-Proto, and name the proxy in \
         server.trusted_proxies; or leave server.absolute_locations off",
    Compressed "compressed":
        "switch compression off for the registry (nginx: gzip off)",
    Upload "upload":
        "look for the request in the log of the registry, by its X-Request-Id",
    Pull "pull":
        "look for the request in the log of the registry, by its X-Request-Id",
    Redirect "redirect":
        "let clients reach the store (store.s3.public_endpoint), or set blobs.delivery = \"proxy\"",
    RedirectHost "redirect-host":
        "give store.s3.public_endpoint a name: some clients do not follow redirects to private \
         addresses",
    Admin "admin":
        "check the address of --admin, which is admin.listen of a process",
    NotReady "not-ready":
        "wait for the start or the end of the process; its log says what it waits for",
    Versions "versions":
        "finish the upgrade: run one release everywhere",
    Settings "settings":
        "give all processes one configuration, and restart those that differ",
    Reload "reload":
        "look for `reload failed` in the log of the process: it keeps the version before",
    Redis "redis":
        "start Redis, or the network to it; the log of the process has the error",
    RedisErrors "redis-errors":
        "see the reason: login, permission, full, read_only and so on are explained in \
         docs/metrics.md",
    Store "store":
        "look at the state of the store, and for `cause` in the log of the process",
    StoreClock "store-clock":
        "synchronize the clock of the process or of the store; beyond collection.clock_skew no \
         process starts",
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub class: Class,
    pub what: String,
    /// By what it was seen.
    pub seen: String,
    pub advice: &'static str,
}

impl Finding {
    pub(super) fn new(class: Class, what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { class, what: what.into(), seen: seen.into(), advice: class.advice() }
    }
}

/// One line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, what, seen, advice } = self;
        write!(f, "{}: {what} (seen: {seen}). {advice}", class.name())
    }
}
