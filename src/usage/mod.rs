//! How many bytes the bucket holds, and for whom: a rough number for the metrics of a server
//! ([`UsageScan`]), and the exact explanation of every byte for `longshore usage`
//! ([`Explanation`]).

mod explanation;
mod scan;

pub use explanation::{
    Class, Explained, Explanation, Grouping, OBJECTS_MAX, REPOSITORIES_MAX, SEVERAL, Sum,
};
pub use scan::{NAMESPACES_SHOWN, REST, ScanError, UsageScan};
