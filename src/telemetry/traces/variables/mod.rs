//! What the standard `OTEL_` variables ask for.
//!
//! The SDK reads some of them by itself: the endpoint, its headers and its compression, the
//! attributes of the resource, the limits of a span. What it does not read, or reads without
//! telling what it passed over, is read here. As the specification wants it, a value that is not
//! understood is a warning and then as good as not set: a registry does not stay down over a typing
//! error in its tracing.

use std::time::Duration;

/// How long one request to the collector may take, unless a variable says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Spans that wait for their turn at most, unless a variable says otherwise.
const QUEUE_MAX_DEFAULT: usize = 2048;

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether a caller who says if it is sampled decides.
    pub(super) parent_decides: bool,
    /// The part of the other traces.
    pub(super) ratio: f64,
}

/// Everything that is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) protocol: Protocol,
    /// Whether the endpoint wants TLS.
    pub(super) secure: bool,
    /// The file of the certificates that the collector's may be signed by, instead of the system's.
    pub(super) certificate: Option<String>,
    /// The files of our own certificate and of its key.
    pub(super) identity: Option<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) sampling: Sampling,
    /// Whether `traceparent` and `tracestate` of a request are believed.
    pub(super) propagation: bool,
    pub(super) queue_max: usize,
}

/// Reads what is asked for, `None` if nothing is. What is not understood is told to `warn`.
pub(super) fn read(
    lookup: &dyn Fn(&str) -> Option<String>,
    warn: &mut dyn FnMut(String),
) -> Option<Asked> {
    let mut variables = Variables { lookup, warn };
    if !variables.wants_traces() {
        return None;
    }
    let protocol = variables.protocol();
    let endpoint = variables.of_traces("ENDPOINT").unwrap_or_default();
    let insecure =
        variables.of_traces("INSECURE").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    // Without a scheme gRPC is secure unless it is said not to be.
    let secure = endpoint.starts_with("https://")
        || (protocol == Protocol::Grpc
            && !endpoint.is_empty()
            && !endpoint.contains("://")
            && !insecure);
    let key = variables.of_traces("CLIENT_KEY");
    Some(Asked {
        protocol,
        secure,
        certificate: variables.of_traces("CERTIFICATE"),
        identity: variables.of_traces("CLIENT_CERTIFICATE").zip(key),
        timeout: variables.timeout(),
        sampling: variables.sampling(),
        propagation: variables.propagation(),
        queue_max: variables.number("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(QUEUE_MAX_DEFAULT).max(1),
    })
}

struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    warn: &'a mut dyn FnMut(String),
}

impl Variables<'_> {
    /// The value of a variable. One that is empty is not set.
    fn get(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value for traces, else that for all signals.
    fn of_traces(&self, name: &str) -> Option<String> {
        self.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn passed_over(&mut self, name: &str, value: &str, instead: &str) {
        (self.warn)(format!("{name}={value} is not understood and passed over: {instead}"));
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.get(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.passed_over(name, &value, "it is no such number");
        }
        number
    }

    fn wants_traces(&mut self) -> bool {
        if self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return false;
        }
        let exporters = self.get("OTEL_TRACES_EXPORTER").unwrap_or_default();
        let mut named = exporters.split(',').map(str::trim).filter(|name| !name.is_empty());
        match named.find(|name| ["otlp", "none"].contains(name)) {
            Some("otlp") => return true,
            Some(_) => return false,
            None if !exporters.is_empty() => {
                self.passed_over("OTEL_TRACES_EXPORTER", &exporters, "there are otlp and none");
            }
            None => {}
        }
        self.of_traces("ENDPOINT").is_some()
    }

    fn protocol(&mut self) -> Protocol {
        match self.of_traces("PROTOCOL").as_deref() {
            Some("grpc") => Protocol::Grpc,
            None | Some("http/protobuf") => Protocol::HttpProtobuf,
            Some(other) => {
                let instead = "there are grpc and http/protobuf, and the latter is used";
                self.passed_over("OTEL_EXPORTER_OTLP_PROTOCOL", other, instead);
                Protocol::HttpProtobuf
            }
        }
    }

    fn timeout(&mut self) -> Duration {
        self.number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
            .or_else(|| self.number("OTEL_EXPORTER_OTLP_TIMEOUT"))
            .map_or(TIMEOUT_DEFAULT, Duration::from_millis)
    }

    fn sampling(&mut self) -> Sampling {
        let sampler = self.get("OTEL_TRACES_SAMPLER").unwrap_or_default();
        let (parent_decides, root) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, sampler.as_str()),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(),
            _ => {
                if !sampler.is_empty() {
                    let instead = "parentbased_always_on is used";
                    self.passed_over("OTEL_TRACES_SAMPLER", &sampler, instead);
                }
                return Sampling { parent_decides: true, ratio: 1.0 };
            }
        };
        Sampling { parent_decides, ratio }
    }

    fn ratio(&mut self) -> f64 {
        let name = "OTEL_TRACES_SAMPLER_ARG";
        let ratio: f64 = self.number(name).unwrap_or(1.0);
        if (0.0..=1.0).contains(&ratio) {
            return ratio;
        }
        self.passed_over(name, &ratio.to_string(), "a ratio lies between 0 and 1, and 1 is used");
        1.0
    }

    /// Baggage is not used for anything here, so there is nothing to do for it.
    fn propagation(&mut self) -> bool {
        let Some(propagators) = self.get("OTEL_PROPAGATORS") else { return true };
        let mut believed = false;
        for name in propagators.split(',').map(str::trim) {
            match name {
                "tracecontext" => believed = true,
                "baggage" | "none" | "" => {}
                other => {
                    let instead = "there are tracecontext, baggage and none";
                    self.passed_over("OTEL_PROPAGATORS", other, instead);
                }
            }
        }
        believed
    }
}

#[cfg(test)]
mod tests;
