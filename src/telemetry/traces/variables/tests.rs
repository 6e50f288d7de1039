//! What is asked for, from the variables as they may be set.

use super::*;

fn asked(variables: &[(&str, &str)]) -> (Option<Asked>, Vec<String>) {
    let lookup = |name: &str| {
        variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned())
    };
    let mut warnings = Vec::new();
    let asked = read(&lookup, &mut |warning| warnings.push(warning));
    (asked, warnings)
}

/// With an endpoint, so that traces are wanted.
fn with(name: &str, value: &str) -> (Asked, Vec<String>) {
    let (asked, warnings) =
        asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"), (name, value)]);
    (asked.expect("an endpoint asks for traces"), warnings)
}

#[test]
fn nothing_is_asked_for_by_default() {
    let silent: [&[(&str, &str)]; 7] = [
        &[],
        &[("OTEL_SERVICE_NAME", "registry"), ("OTEL_TRACES_SAMPLER", "always_on")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "true")],
        &[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "TRUE")],
        &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4318")],
    ];
    for variables in silent {
        assert_eq!(asked(variables), (None, Vec::new()), "{variables:?}");
    }
    let (nothing, warnings) = asked(&[("OTEL_TRACES_EXPORTER", "zipkin")]);
    assert!(nothing.is_none() && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn an_endpoint_or_an_exporter_asks_for_traces() {
    for variables in [
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")],
        [("OTEL_TRACES_EXPORTER", "otlp")],
        [("OTEL_TRACES_EXPORTER", "console, otlp")],
    ] {
        let (asked, warnings) = asked(&variables);
        let asked = asked.expect("traces");
        assert_eq!(warnings, Vec::<String>::new(), "{variables:?}");
        assert_eq!(asked.protocol, Protocol::HttpProtobuf);
        assert_eq!(asked.sampling, Sampling { parent_decides: true, ratio: 1.0 });
        assert!(asked.propagation && !asked.secure);
        assert_eq!((asked.queue_max, asked.timeout), (2048, Duration::from_secs(10)));
    }
}

#[test]
fn what_is_for_traces_goes_before_what_is_for_all() {
    let (asked, _) = asked(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "7000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/all.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/traces.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/mine.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/mine.key"),
    ]);
    let asked = asked.expect("traces");
    assert_eq!((asked.protocol, asked.secure), (Protocol::Grpc, true));
    assert_eq!(asked.timeout, Duration::from_millis(500));
    assert_eq!(asked.certificate.as_deref(), Some("/traces.pem"));
    assert_eq!(asked.identity, Some(("/mine.pem".to_owned(), "/mine.key".to_owned())));
}

#[test]
fn grpc_without_a_scheme_is_secure_unless_it_is_said_not_to_be() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ];
    assert!(!asked(&variables).0.expect("traces").secure);
    assert!(asked(&variables[..2]).0.expect("traces").secure);
}

#[test]
fn samplers_are_those_of_the_specification() {
    for (name, parent_decides, ratio) in [
        ("always_on", false, 1.0),
        ("always_off", false, 0.0),
        ("traceidratio", false, 0.25),
        ("parentbased_always_on", true, 1.0),
        ("parentbased_always_off", true, 0.0),
        ("parentbased_traceidratio", true, 0.25),
    ] {
        let (asked, warnings) = asked(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        assert_eq!(asked.expect("traces").sampling, Sampling { parent_decides, ratio }, "{name}");
        assert_eq!(warnings, Vec::<String>::new());
    }
}

#[test]
fn what_is_not_understood_is_warned_of_and_passed_over() {
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
    ] {
        let (asked, warnings) = with(name, value);
        assert_eq!(asked, with("OTEL_SERVICE_NAME", "x").0, "{name}");
        assert!(warnings.len() == 1 && warnings[0].contains(value), "{warnings:?}");
    }
    for arg in ["2", "-0.5", "half", "NaN"] {
        let (asked, warnings) = asked(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", arg),
        ]);
        assert_eq!(asked.expect("traces").sampling, Sampling { parent_decides: false, ratio: 1.0 });
        assert_eq!(warnings.len(), 1, "{arg}");
    }
}

#[test]
fn callers_are_believed_if_the_w3c_propagator_is_there() {
    for (value, believed) in [
        ("tracecontext,baggage", true),
        ("tracecontext", true),
        ("baggage", false),
        ("none", false),
    ] {
        assert_eq!(with("OTEL_PROPAGATORS", value).0.propagation, believed, "{value}");
    }
    let (asked, warnings) = with("OTEL_PROPAGATORS", "b3,tracecontext");
    assert!(asked.propagation && warnings.len() == 1);
}
