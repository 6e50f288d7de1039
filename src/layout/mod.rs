//! The layout of the bucket: how keys are spelled ([`key`]).

pub mod key;

pub use key::{Kind, Location, Prefix, RecordKey};
