//! One table of `[[quotas]]`.

use super::tables::Table;
use crate::quota::Quota;

pub(super) fn quota(table: &mut Table<'_>) -> Option<Quota> {
    let namespaces = table.values("namespaces");
    let namespaces = table.required("namespaces", namespaces);
    let bytes = table.value("bytes");
    let bytes = table.required("bytes", bytes);
    Some(Quota { namespaces: namespaces?, bytes: bytes? })
}
