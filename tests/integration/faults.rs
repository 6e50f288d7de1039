//! Pushes and pulls while the store fails: lost requests, lost responses, and bodies that break.
//!
//! A client that retries always succeeds, all acknowledged content can be pulled, and no data is
//! orphaned except for the cases that `every_fault` lists. A failing store is always 503 with
//! `Retry-After`: never 404, which tells clients that content is gone, and never 500.

mod every_fault;
mod leases;
mod moved_tags;
mod outages;
mod reads;
mod upload_leases;

use crate::STORE;
