//! Addresses of Ethereum accounts.

use std::{fmt, str::FromStr};

use k256::elliptic_curve::sec1::ToSec1Point;
use sha3::{Digest, Keccak256};
use thiserror::Error;

use crate::key::{Point, strip_0x};

/// The address of an Ethereum account: the last 20 bytes of a hash of its public key.
///
/// Parses `0x` and 40 hex digits: all in one case, or with the checksum of EIP-55. Prints the latter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address([u8; 20]);

/// The error of a text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not an Ethereum address: expected 0x and 40 hex digits, in one case or with the right checksum (EIP-55)"
)]
pub struct InvalidAddress;

impl Address {
    /// Returns the address of the account whose key this is.
    pub fn of(point: &Point) -> Self {
        let point = point.affine.to_sec1_point(false);
        let hash = Keccak256::digest(&point.as_bytes()[1..]);
        let mut address = [0; 20];
        address.copy_from_slice(&hash[12..]);
        Self(address)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let digits = strip_0x(text);
        let mut address = [0; 20];
        hex::decode_to_slice(digits, &mut address).map_err(|_| InvalidAddress)?;
        let address = Self(address);
        let has = |is_case: fn(&u8) -> bool| digits.as_bytes().iter().any(is_case);
        let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        let is_checked = || address.to_string().strip_prefix("0x") == Some(digits);
        if digits.len() == text.len() || is_mixed && !is_checked() {
            return Err(InvalidAddress);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = hex::encode(self.0).into_bytes();
        let hash = Keccak256::digest(&digits);
        for (at, digit) in digits.iter_mut().enumerate() {
            let nibble = hash[at / 2] >> if at % 2 == 0 { 4 } else { 0 };
            if nibble & 8 != 0 {
                digit.make_ascii_uppercase();
            }
        }
        f.write_str("0x")?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_with_its_checksum() {
        // The examples of EIP-55.
        for checked in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            for text in [
                checked.to_owned(),
                checked.to_lowercase(),
                checked.to_uppercase(),
                checked.to_uppercase().replacen('X', "x", 1),
            ] {
                let address: Address = text.parse().unwrap();
                assert_eq!(address.to_string(), checked, "{text}");
            }
        }
    }

    #[test]
    fn texts_that_are_no_address_are_refused() {
        let right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        for wrong in [
            "",
            "0x",
            &right[2..],
            &right[..41],
            &format!("{right}0"),
            &format!(" {right}"),
            &right.replacen('a', "A", 1),
            &right.replacen("Ed", "ed", 1).replacen("Ae", "ae", 1),
            &right.replacen("5a", "5g", 1),
            "vitalik.eth",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeA\u{e9}d",
        ] {
            assert_eq!(wrong.parse::<Address>(), Err(InvalidAddress), "{wrong}");
        }
    }
}
