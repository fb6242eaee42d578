//! From where a client key may be used: networks that are let in, and networks that are not.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// One address, or a network of them: `203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`.
///
/// IPv4 addresses that are written as IPv6 are taken for what they are, here and in what is compared.
///
/// ```
/// use keyward::quota::Network;
/// let network: Network = "::ffff:10.1.2.3/104".parse()?;
/// assert_eq!(network.to_string(), "10.0.0.0/8");
/// assert!(network.has("10.200.0.1".parse().unwrap()));
/// assert!(network.has("::ffff:10.200.0.1".parse().unwrap()));
/// assert_eq!("10.0.0.0/33".parse::<Network>().unwrap_err().field(), Some("address"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Its first address.
    first: IpAddr,
    /// How many bits all of its addresses share.
    bits: u8,
}

/// How many leading bits of an IPv6 address say that it is an IPv4 one.
const MAPPED: u8 = 96;

impl Network {
    /// Whether an address lies in it.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && first(address, self.bits) == self.first
    }
}

/// The address with all but its first bits cleared.
fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::invalid("address", text, "an address or a network, such as 203.0.113.7 or 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = match bits {
            None => most,
            Some(bits) => {
                let plain =
                    bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
                bits.parse().ok().filter(|bits| plain && *bits <= most).ok_or_else(refused)?
            }
        };
        let canonical = address.to_canonical();
        match bits.checked_sub(MAPPED) {
            Some(bits) if canonical != address => Ok(Self { first: first(canonical, bits), bits }),
            _ => Ok(Self { first: first(address, bits), bits }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.first.is_ipv4() { 32 } else { 128 };
        if self.bits == most { write!(f, "{}", self.first) } else { write!(f, "{}/{}", self.first, self.bits) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// From where a key may be used. Without any rule from everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Addresses {
    /// Never from here, whatever else is said.
    pub deny: Vec<Network>,
    /// Only from here, unless it is empty.
    pub allow: Vec<Network>,
}

impl Addresses {
    /// Whether a call from this address is let in. One whose address nobody knows is not, where there are rules.
    #[must_use]
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        let Self { deny, allow } = self;
        match address {
            None => deny.is_empty() && allow.is_empty(),
            Some(address) => {
                let in_one = |networks: &[Network]| networks.iter().any(|network| network.has(address));
                !in_one(deny) && (allow.is_empty() || in_one(allow))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (text, shown) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7/32", "203.0.113.7"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:1.2.3.4/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown);
            assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/+8", "::/129", "fe80::1%eth0"] {
            assert_eq!(bad.parse::<Network>().unwrap_err().value(), Some(bad));
        }
        for bad in ["010.0.0.1", "10.0.0.1 ", "example.com", "10.0.0.0/8/8", "10.0.0.0/-1", "1.2.3.4:80"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_denied_stays_out_whatever_is_allowed() {
        let rules = Addresses { deny: networks(&["10.0.0.13"]), allow: networks(&["10.0.0.0/24", "2001:db8::/32"]) };
        let admits = |text: &str| rules.admit(Some(text.parse().unwrap()));
        assert!(admits("10.0.0.12") && admits("::ffff:10.0.0.12") && admits("2001:db8::1"));
        assert!(!admits("10.0.0.13") && !admits("::ffff:10.0.0.13") && !admits("10.0.1.1") && !admits("::1"));
        assert!(!rules.admit(None) && Addresses::default().admit(None));
        let all_but = Addresses { deny: networks(&["::/0"]), allow: Vec::new() };
        assert!(all_but.admit(Some("10.0.0.1".parse().unwrap())), "IPv4 is no part of IPv6");
    }
}
