//! The reference: a configuration file with every setting, its default and its meaning.

use std::fmt::Write as _;

use super::{Settings, keys};
use crate::setting::{Item, Section, Setting, Shape};

const MARKDOWN_HEAD: &str = "\
# Configuration

`longshore serve` needs no configuration: it listens on 127.0.0.1:5000 and keeps everything in the
folder `longshore-data`. Below is the output of `longshore config-reference`: a configuration file
that changes nothing, because every setting in it is a comment.

Longshore reads settings from these places; a later one overrides an earlier one:

1. the default;
2. for the endpoint and the region of S3: `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`,
   `AWS_DEFAULT_REGION` and `AWS_REGION`;
3. the TOML file named by `--config` or `LONGSHORE_CONFIG`;
4. the environment: `LONGSHORE_`, the section and the name, so `uploads.part_bytes` is
   `LONGSHORE_UPLOADS_PART_BYTES`; an empty variable counts as none;
5. the flags of `longshore serve` and `longshore check`.

Sizes are written as `64KiB`, `16MiB` or a number of bytes, durations as `500ms`, `30s`, `5m`,
`48h`, `7d` or a number of seconds. To keep a secret in a file of its own, add `_file` to its key,
or `_FILE` to its variable, and give the path of the file as the value. Paths are relative to the
working directory.

An unknown key is an error, and so is an unknown variable that begins with `LONGSHORE_` (Longshore
ignores those that Kubernetes sets for services). All errors are reported at once, each with its
file and line, variable or flag. `longshore check` tests a configuration, its store and its Redis
without serving.

```toml
";

/// A complete TOML file in which every setting is a comment that shows its default.
pub fn reference() -> String {
    let mut out = String::new();
    push_items(&mut out, "", &mut Settings::default());
    out
}

/// `docs/configuration.md`.
pub fn reference_markdown() -> String {
    format!("{MARKDOWN_HEAD}{}```\n", reference())
}

fn push_items(out: &mut String, key: &str, section: &mut dyn Section) {
    for item in section.items() {
        if !out.is_empty() {
            out.push('\n');
        }
        match item {
            Item::Setting(setting) => push_setting(out, &setting),
            Item::Section(name, inner) => {
                let key = keys::join(key, name);
                push_comment(out, inner.about());
                push_line(out, format_args!("[{key}]"));
                push_items(out, &key, inner);
            }
        }
    }
}

fn push_setting(out: &mut String, setting: &Setting<'_>) {
    let name = setting.name;
    push_comment(out, setting.doc);
    let value = setting.show();
    let mut remarks = Vec::new();
    remarks.extend(setting.limits().map(|(least, most)| format!("From {least} to {most}.")));
    match setting.shape {
        Shape::Text | Shape::List => {}
        Shape::Secret => remarks.push(format!("Or the path of a file: {name}_file.")),
        // The doc comment has an example.
        Shape::Tables => return,
    }
    remarks.extend(value.is_none().then(|| "Not set by default; for example:".to_owned()));
    if !remarks.is_empty() {
        push_comment(out, &remarks.join(" "));
    }
    let value = value.or_else(|| setting.example.map(str::to_owned));
    let value = value.expect("a setting without a default has an example");
    let bare = matches!(value.as_str(), "true" | "false") || value.parse::<u32>().is_ok();
    let quote = if bare { "" } else { "\"" };
    push_line(out, format_args!("#{name} = {quote}{value}{quote}"));
}

fn push_comment(out: &mut String, text: &str) {
    for line in text.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        // The fences of examples are for rustdoc.
        if !line.starts_with("```") {
            push_line(out, format_args!("{}", format!("# {line}").trim_end()));
        }
    }
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string takes all");
}
