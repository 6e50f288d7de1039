//! The layout of the bucket: how keys are spelled ([`key`]) and what records hold ([`records`]).

pub mod key;
pub mod records;

pub use key::{Kind, Location, Prefix, RecordKey};
