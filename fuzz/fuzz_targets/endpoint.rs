//! Any method and URI either is an endpoint or is refused.

#![no_main]

use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use longshore::http::Endpoint;

fuzz_target!(|input: (u8, &str)| {
    let (choice, target) = input;
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let method = &methods[usize::from(choice) % methods.len()];
    let Ok(uri) = target.parse::<Uri>() else { return };
    let _ = Endpoint::parse(method, &uri);
});
