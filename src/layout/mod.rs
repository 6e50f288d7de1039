//! The layout of the bucket: how keys are spelled ([`key`]), what records hold ([`records`]), and
//! how that is written as bytes ([`encoding`]).

pub mod encoding;
pub mod key;
pub mod records;

pub use key::{Day, ForeignLocation, Kind, Location, Prefix, RecordKey};
