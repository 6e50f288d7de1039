//! Networks of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::setting::Value;

/// Networks, written as `10.0.0.0/8,fd00::/8`; a single address stands for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = |text: &str| {
            let text = text.trim();
            let address = text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>().or(address).map(|network| network.trunc()).map_err(|_| {
                format!("{text:?} is not a network, such as 10.0.0.0/8, fd00::/8 or 192.0.2.1")
            })
        };
        Ok(Self(text.split(',').map(network).collect::<Result<_, _>>()?))
    }
}

/// The inverse of `from_str`.
impl fmt::Display for Networks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            write!(formatter, "{}{network}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Value for Networks {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse()?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.to_string())
    }
}
