//! Networks of IP addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::kind::{Kind, Shape};

/// Networks, written as `10.0.0.0/8,fd00::/8`. A single address is a network of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

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

/// A setting that is a list of networks.
pub(crate) fn networks() -> Kind<Networks> {
    Kind::new(Shape::List, Networks::from_str, Networks::to_string)
}
