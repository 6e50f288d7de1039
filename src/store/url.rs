//! Where everything is kept, in one line of text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

const BUCKET_BYTES_MAX: usize = 255;
const PREFIX_BYTES_MAX: usize = 512;

/// A folder, a bucket, or memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Folder(PathBuf),
    S3 {
        bucket: String,
        /// Neither begins nor ends with `/`; empty for the root of the bucket.
        prefix: String,
    },
    /// Gone when the process ends.
    Memory,
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::Folder(PathBuf::from("longshore-data"))
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            check_bucket(bucket)?;
            check_prefix(prefix)?;
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(format!(
                "stores of kind {scheme:?} are not known: write a folder, s3://bucket/prefix or \
                 memory"
            ));
        }
        match text {
            "" => Err("is empty: write a folder, s3://bucket/prefix or memory".to_owned()),
            "memory" => Ok(Self::Memory),
            folder if folder.contains('\0') => Err("a path holds no NUL character".to_owned()),
            folder => Ok(Self::Folder(PathBuf::from(folder))),
        }
    }
}

/// The inverse of `from_str`.
impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(formatter, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(formatter, "s3://{bucket}/{prefix}"),
            Self::Memory => formatter.write_str("memory"),
        }
    }
}

/// The rules that all S3 servers share; the strict ones of AWS are left to AWS.
fn check_bucket(bucket: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || BUCKET_BYTES_MAX < bucket.len() || !bucket.chars().all(plain) {
        return Err(format!("{bucket:?} is not the name of a bucket: write s3://bucket/prefix"));
    }
    Ok(())
}

/// A prefix is part of every key, and must mean the same to every proxy on the way.
fn check_prefix(prefix: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '=');
    let component = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
    if prefix.is_empty() || (prefix.len() <= PREFIX_BYTES_MAX && prefix.split('/').all(component)) {
        return Ok(());
    }
    Err(format!(
        "{prefix:?} is not a prefix: write up to {PREFIX_BYTES_MAX} of A-Z a-z 0-9 . _ - = in \
         components separated by one /"
    ))
}
