//! What becomes of pushes and pulls when the store fails: requests that are lost, requests whose
//! answers are lost, bodies that break off.
//!
//! A client that does not give up always gets there, everything it was told is there can be pulled,
//! and no bytes are left that nothing names, but for what a rule below explains. Whatever happens,
//! a failing store is 503 with `Retry-After`: never 404, which tells clients that content is gone,
//! and never 500.

mod every_fault;
mod leases;
mod outages;
mod reads;
