//! The message of EIP-4361 that an Ethereum wallet signs to log in. Wallets know it, show it well, and warn of a page
//! that isn't its domain.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::{Address, PublicKey};

/// The facts that one login of an Ethereum account proves. Displays as the message to sign, to the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiweMessage {
    /// The host of the page that asks for the signature, with its port unless that is the scheme's own.
    pub domain: String,
    /// The account.
    pub address: Address,
    /// The origin by which clients know the server.
    pub origin: String,
    /// The session's circle.
    pub circle: PublicKey,
    /// The chain of the account (EIP-155).
    pub chain_id: u64,
    /// Random bytes of this one message.
    pub nonce: [u8; 32],
    /// The time of issue, in whole milliseconds.
    pub issued: Timestamp,
    /// The time of expiry, in whole milliseconds.
    pub expires: Timestamp,
}

impl SiweMessage {
    /// Returns the times of issue and of expiry of a message made `now` that is valid for `ttl`.
    pub fn times(now: Timestamp, ttl: Duration) -> (Timestamp, Timestamp) {
        let whole = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        let now = now.as_millisecond();
        let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        (whole(now), whole(now.saturating_add(ttl)))
    }
}

impl fmt::Display for SiweMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            address,
            origin,
            circle,
            chain_id,
            nonce,
            issued,
            expires,
        } = self;
        let nonce = hex::encode(nonce);
        // Without a statement, its line is missing, but not the empty lines around it.
        write!(
            f,
            "{domain} wants you to sign in with your Ethereum account:\n\
             {address}\n\
             \n\
             \n\
             URI: {origin}/{circle}\n\
             Version: 1\n\
             Chain ID: {chain_id}\n\
             Nonce: {nonce}\n\
             Issued At: {issued:.3}\n\
             Expiration Time: {expires:.3}\n\
             Resources:\n\
             - urn:circled:circle:{circle}"
        )
    }
}
