//! The reference: a configuration file with every setting, its default and its meaning.

use std::fmt::Write as _;

use super::setting::Setting;
use super::settings::Settings;
use super::table::{EXAMPLES, SETTINGS};

/// The text of the reference is the doc comments of the structs and fields in this file.
const SOURCE: &str = include_str!("settings.rs");

/// Each section of the file and the struct that holds it.
const SECTIONS: [(&str, &str); 15] = [
    ("server", "ServerSettings"),
    ("server.tls", "TlsSettings"),
    ("admin", "AdminSettings"),
    ("metrics", "MetricsSettings"),
    ("access", "AccessSettings"),
    ("access.token", "TokenSettings"),
    ("store", "StoreSettings"),
    ("store.s3", "S3Settings"),
    ("uploads", "UploadSettings"),
    ("blobs", "BlobSettings"),
    ("manifests", "ManifestSettings"),
    ("lists", "ListSettings"),
    ("cache", "CacheSettings"),
    ("collection", "LeaseSettings"),
    ("log", "LogSettings"),
];

const MARKDOWN_HEAD: &str = "\
# Configuration

`longshore serve` needs no configuration: it listens on 127.0.0.1:5000 and keeps everything in the
folder `longshore-data`. What follows is the output of `longshore config-reference`: a
configuration file that changes nothing, because every setting in it is a comment.

A setting is looked for in these places, and the last one that has it wins:

1. the default;
2. for the endpoint and the region of S3: `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`,
   `AWS_DEFAULT_REGION` and `AWS_REGION`;
3. the TOML file named by `--config` or `LONGSHORE_CONFIG`;
4. the environment: `LONGSHORE_`, the section and the name, so `uploads.part_bytes` is
   `LONGSHORE_UPLOADS_PART_BYTES`; an empty variable counts as none;
5. the flags of `longshore serve` and `longshore check`.

Sizes are written as `64KiB`, `16MiB` or a number of bytes, durations as `500ms`, `30s`, `5m`,
`48h`, `7d` or a number of seconds. A secret can be kept in a file of its own: add `_file` to its
key, or `_FILE` to its variable, and give the path instead. Paths are relative to the working
directory.

An unknown key is an error, and so is an unknown variable that begins with `LONGSHORE_` (those that
Kubernetes sets for services are passed over). Everything that is wrong is reported at once, with
its place. `longshore check` tries a configuration, and the store it names, without serving.

```toml
";

/// A complete TOML file in which every setting is a comment that shows its default.
pub fn reference() -> String {
    let mut out = String::new();
    let default = Settings::default();
    for (section, structure) in SECTIONS {
        if !out.is_empty() {
            out.push('\n');
        }
        push_comment(&mut out, &doc(structure, None));
        writeln!(out, "[{section}]").expect("a string takes all");
        for setting in SETTINGS {
            match setting.key.rsplit_once('.') {
                Some((of, name)) if of == section => {
                    out.push('\n');
                    push_comment(&mut out, &doc(structure, Some(name)));
                    push_setting(&mut out, name, setting, &default);
                }
                Some(_) | None => {}
            }
        }
        if section == "access.token" {
            push_rules(&mut out);
        }
    }
    out
}

/// The rules of access are tables of their own, so they are shown as an example.
fn push_rules(out: &mut String) {
    out.push('\n');
    push_comment(out, &doc("AccessSettings", Some("rules")));
}

/// `docs/configuration.md`.
pub fn reference_markdown() -> String {
    format!("{MARKDOWN_HEAD}{}```\n", reference())
}

fn push_setting(out: &mut String, name: &str, setting: &Setting, default: &Settings) {
    let value = setting.show(default);
    let mut facts = Vec::new();
    facts.extend(setting.limits().map(|(least, most)| format!("From {least} to {most}.")));
    facts.extend(setting.file_key().map(|_| format!("Or the path of a file: {name}_file.")));
    facts.extend(value.is_none().then(|| "Not set by default; for example:".to_owned()));
    if !facts.is_empty() {
        push_comment(out, &[facts.join(" ")]);
    }
    let example = || EXAMPLES.iter().find(|(key, _)| *key == setting.key).map(|(_, text)| *text);
    let value = value.or_else(|| example().map(str::to_owned)).expect("EXAMPLES has the others");
    let bare = matches!(value.as_str(), "true" | "false") || value.parse::<u32>().is_ok();
    let quote = if bare { "" } else { "\"" };
    writeln!(out, "#{name} = {quote}{value}{quote}").expect("a string takes all");
}

fn push_comment(out: &mut String, lines: &[impl AsRef<str>]) {
    for line in lines {
        writeln!(out, "{}", format!("# {}", line.as_ref()).trim_end()).expect("a string takes all");
    }
}

/// The doc comment of a struct, or of one of its fields.
fn doc(structure: &str, field: Option<&str>) -> Vec<&'static str> {
    let opening = format!("pub struct {structure} {{");

    let field = field.map(|field| format!("    pub {field}: "));
    let (mut comment, mut inside) = (Vec::new(), false);
    for line in SOURCE.lines() {
        let found = match &field {
            None => line == opening,
            Some(field) => inside && line.starts_with(field),
        };
        if found {
            return comment;
        }
        inside = line == opening || (inside && line != "}");
        match line.trim_start().strip_prefix("///") {
            // The fences of examples are for rustdoc.
            Some(text) if text.starts_with(" ```") => {}
            Some(text) => comment.push(text.strip_prefix(' ').unwrap_or(text)),
            None if line.trim_start().starts_with("#[") => {}
            None => comment.clear(),
        }
    }
    Vec::new()
}
