//! The settings of traces, from the standard `OTEL_` variables.
//!
//! The SDK itself reads the endpoint with its headers and compression, the attributes of the
//! resource and the limits of a span. This module reads the variables that the SDK does not read,
//! or reads without a warning for an invalid value. As the specification demands, an invalid value
//! causes a warning and is then ignored: a typing error here does not stop the registry.

use std::time::Duration;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const QUEUE_MAX_DEFAULT: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether the sampling decision of the caller applies, if the request carries one.
    pub(super) parent_decides: bool,
    /// The ratio of all other traces, from 0 to 1.
    pub(super) ratio: f64,
}

/// The settings of enabled traces.
#[derive(Debug, PartialEq)]
pub(super) struct TraceSettings {
    pub(super) protocol: Protocol,
    /// Whether the endpoint uses TLS.
    pub(super) secure: bool,
    /// The file with the certificate authorities for the collector, instead of the system's.
    pub(super) certificate: Option<String>,
    /// The files of the client certificate and of its key.
    pub(super) identity: Option<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) sampling: Sampling,
    /// Whether `traceparent` and `tracestate` of a request are used.
    pub(super) propagation: bool,
    pub(super) queue_max: usize,
}

/// Reads the settings, `None` if traces are off. Calls `warn` for each invalid value.
pub(super) fn read(
    lookup: &dyn Fn(&str) -> Option<String>,
    warn: &mut dyn FnMut(String),
) -> Option<TraceSettings> {
    let mut variables = Variables { lookup, warn };
    if !variables.traces_enabled() {
        return None;
    }
    let protocol = variables.protocol();
    let endpoint = variables.trace_variable("ENDPOINT").unwrap_or_default();
    let insecure =
        variables.trace_variable("INSECURE").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    // Without a scheme, gRPC uses TLS unless INSECURE is true.
    let secure = endpoint.starts_with("https://")
        || (protocol == Protocol::Grpc
            && !endpoint.is_empty()
            && !endpoint.contains("://")
            && !insecure);
    let key = variables.trace_variable("CLIENT_KEY");
    Some(TraceSettings {
        protocol,
        secure,
        certificate: variables.trace_variable("CERTIFICATE"),
        identity: variables.trace_variable("CLIENT_CERTIFICATE").zip(key),
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
    /// The value of a variable. An empty variable counts as not set.
    fn get(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value for traces, or else the value for all signals.
    fn trace_variable(&self, name: &str) -> Option<String> {
        self.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn warn_ignored(&mut self, name: &str, value: &str, instead: &str) {
        (self.warn)(format!("{name}={value} is invalid and ignored: {instead}"));
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.get(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.warn_ignored(name, &value, "expected a number in range");
        }
        number
    }

    fn traces_enabled(&mut self) -> bool {
        if self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return false;
        }
        let exporters = self.get("OTEL_TRACES_EXPORTER").unwrap_or_default();
        let mut named = exporters.split(',').map(str::trim).filter(|name| !name.is_empty());
        match named.find(|name| ["otlp", "none"].contains(name)) {
            Some("otlp") => return true,
            Some(_) => return false,
            None if !exporters.is_empty() => {
                self.warn_ignored("OTEL_TRACES_EXPORTER", &exporters, "expected otlp or none");
            }
            None => {}
        }
        self.trace_variable("ENDPOINT").is_some()
    }

    fn protocol(&mut self) -> Protocol {
        match self.trace_variable("PROTOCOL").as_deref() {
            Some("grpc") => Protocol::Grpc,
            None | Some("http/protobuf") => Protocol::HttpProtobuf,
            Some(other) => {
                let instead = "expected grpc or http/protobuf; http/protobuf is used";
                self.warn_ignored("OTEL_EXPORTER_OTLP_PROTOCOL", other, instead);
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
                    self.warn_ignored("OTEL_TRACES_SAMPLER", &sampler, instead);
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
        self.warn_ignored(name, &ratio.to_string(), "expected a ratio from 0 to 1; 1 is used");
        1.0
    }

    /// Baggage is accepted and ignored.
    fn propagation(&mut self) -> bool {
        let Some(propagators) = self.get("OTEL_PROPAGATORS") else { return true };
        let mut enabled = false;
        for name in propagators.split(',').map(str::trim) {
            match name {
                "tracecontext" => enabled = true,
                "baggage" | "none" | "" => {}
                other => {
                    let instead = "expected tracecontext, baggage or none";
                    self.warn_ignored("OTEL_PROPAGATORS", other, instead);
                }
            }
        }
        enabled
    }
}

#[cfg(test)]
mod tests;
