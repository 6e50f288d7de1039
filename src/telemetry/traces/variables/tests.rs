use super::*;

fn settings(variables: &[(&str, &str)]) -> (Option<TraceSettings>, Vec<String>) {
    let lookup = |name: &str| {
        variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned())
    };
    let mut warnings = Vec::new();
    let settings = read(&lookup, &mut |warning| warnings.push(warning));
    (settings, warnings)
}

/// The settings with an endpoint, which enables traces, and one more variable.
fn with(name: &str, value: &str) -> (TraceSettings, Vec<String>) {
    let (settings, warnings) =
        settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"), (name, value)]);
    (settings.expect("an endpoint enables traces"), warnings)
}

#[test]
fn traces_are_off_by_default() {
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
        assert_eq!(settings(variables), (None, Vec::new()), "{variables:?}");
    }
    let (nothing, warnings) = settings(&[("OTEL_TRACES_EXPORTER", "zipkin")]);
    assert!(nothing.is_none() && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn an_endpoint_or_an_exporter_enables_traces() {
    for variables in [
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")],
        [("OTEL_TRACES_EXPORTER", "otlp")],
        [("OTEL_TRACES_EXPORTER", "console, otlp")],
    ] {
        let (settings, warnings) = settings(&variables);
        let settings = settings.expect("traces");
        assert_eq!(warnings, Vec::<String>::new(), "{variables:?}");
        assert_eq!(settings.protocol, Protocol::HttpProtobuf);
        assert_eq!(settings.sampling, Sampling { parent_decides: true, ratio: 1.0 });
        assert!(settings.propagation && !settings.secure);
        assert_eq!((settings.queue_max, settings.timeout), (2048, Duration::from_secs(10)));
    }
}

#[test]
fn variables_for_traces_override_those_for_all_signals() {
    let (settings, _) = settings(&[
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
    let settings = settings.expect("traces");
    assert_eq!((settings.protocol, settings.secure), (Protocol::Grpc, true));
    assert_eq!(settings.timeout, Duration::from_millis(500));
    assert_eq!(settings.certificate.as_deref(), Some("/traces.pem"));
    assert_eq!(settings.identity, Some(("/mine.pem".to_owned(), "/mine.key".to_owned())));
}

#[test]
fn grpc_without_a_scheme_uses_tls_unless_insecure_is_set() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ];
    assert!(!settings(&variables).0.expect("traces").secure);
    assert!(settings(&variables[..2]).0.expect("traces").secure);
}

#[test]
fn the_samplers_of_the_specification_are_accepted() {
    for (name, parent_decides, ratio) in [
        ("always_on", false, 1.0),
        ("always_off", false, 0.0),
        ("traceidratio", false, 0.25),
        ("parentbased_always_on", true, 1.0),
        ("parentbased_always_off", true, 0.0),
        ("parentbased_traceidratio", true, 0.25),
    ] {
        let (settings, warnings) = settings(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        assert_eq!(
            settings.expect("traces").sampling,
            Sampling { parent_decides, ratio },
            "{name}"
        );
        assert_eq!(warnings, Vec::<String>::new());
    }
}

#[test]
fn invalid_values_cause_a_warning_and_are_ignored() {
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
    ] {
        let (settings, warnings) = with(name, value);
        assert_eq!(settings, with("OTEL_SERVICE_NAME", "x").0, "{name}");
        assert!(warnings.len() == 1 && warnings[0].contains(value), "{warnings:?}");
    }
    for arg in ["2", "-0.5", "half", "NaN"] {
        let (settings, warnings) = settings(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", arg),
        ]);
        assert_eq!(
            settings.expect("traces").sampling,
            Sampling { parent_decides: false, ratio: 1.0 }
        );
        assert_eq!(warnings.len(), 1, "{arg}");
    }
}

#[test]
fn trace_context_is_used_if_its_propagator_is_enabled() {
    for (value, enabled) in [
        ("tracecontext,baggage", true),
        ("tracecontext", true),
        ("baggage", false),
        ("none", false),
    ] {
        assert_eq!(with("OTEL_PROPAGATORS", value).0.propagation, enabled, "{value}");
    }
    let (settings, warnings) = with("OTEL_PROPAGATORS", "b3,tracecontext");
    assert!(settings.propagation && warnings.len() == 1);
}
