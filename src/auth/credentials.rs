//! What a caller asks to sign, and what it shows then, by scheme.

use circled_protocol::{
    NostrEvent, Scheme,
    methods::{Authenticate, FetchNonce},
};

/// What a caller wants to sign to log in.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The login text, for a key; in this scheme, or any that signs texts with the caller's own key.
    Text {
        /// The key.
        pubkey: String,
        /// The scheme.
        scheme: Option<Scheme>,
    },
    /// The message of EIP-4361, for an address.
    Siwe {
        /// The address.
        address: String,
        /// The chain of the account.
        chain_id: u64,
    },
    /// The challenge of NIP-42, for a key.
    Nostr {
        /// The key.
        pubkey: String,
    },
    /// The login text, for the key of a device.
    Device {
        /// The key.
        pubkey: String,
    },
}

/// What a caller shows to log in.
#[derive(Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A signature over the login text.
    Signature {
        /// The key.
        pubkey: String,
        /// The scheme.
        scheme: Scheme,
        /// The signature.
        signature: String,
    },
    /// A signature over the message of EIP-4361.
    Siwe {
        /// The address.
        address: String,
        /// The signature.
        signature: String,
    },
    /// An event of NIP-42.
    Nostr(Box<NostrEvent>),
}

impl Wanted {
    /// Sorts out the parameters.
    ///
    /// # Errors
    /// They don't go together; the text says which.
    pub fn of(params: FetchNonce) -> Result<Self, &'static str> {
        let FetchNonce {
            pubkey,
            scheme,
            address,
            chain_id,
        } = params;
        match (pubkey, address, scheme) {
            (None, Some(address), None | Some(Scheme::Siwe)) => Ok(Self::Siwe {
                address,
                chain_id: chain_id.unwrap_or(1),
            }),
            (None, Some(_), Some(_)) => Err("`address` is for the scheme `siwe`"),
            (Some(_), Some(_), _) => Err("give `pubkey` or `address`, not both"),
            (_, None, Some(Scheme::Siwe)) => {
                Err("the scheme `siwe` needs `address`, and no `pubkey`")
            }
            (None, None, _) => Err("missing field `pubkey` (or `address`)"),
            (Some(_), None, _) if chain_id.is_some() => Err("`chain_id` is for an `address`"),
            (Some(pubkey), None, Some(Scheme::Nostr)) => Ok(Self::Nostr { pubkey }),
            (Some(pubkey), None, Some(Scheme::Es256)) => Ok(Self::Device { pubkey }),
            (
                Some(pubkey),
                None,
                None | Some(Scheme::Eip191 | Scheme::Sha256 | Scheme::Schnorr),
            ) => Ok(Self::Text { pubkey, scheme }),
        }
    }
}

impl Credentials {
    /// Returns the scheme that they are of.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Signature { scheme, .. } => *scheme,
            Self::Siwe { .. } => Scheme::Siwe,
            Self::Nostr(_) => Scheme::Nostr,
        }
    }

    /// Sorts out the parameters.
    ///
    /// # Errors
    /// They don't go together; the text says which.
    pub fn of(params: Authenticate) -> Result<Self, &'static str> {
        let Authenticate {
            pubkey,
            signature,
            scheme,
            address,
            event,
        } = params;
        const NO_SIGNATURE: &str = "missing field `signature`";
        match (event, address, pubkey, scheme) {
            (Some(event), None, None, None | Some(Scheme::Nostr)) if signature.is_none() => {
                Ok(Self::Nostr(event))
            }
            (Some(_), None, None, Some(_)) if signature.is_none() => {
                Err("`event` is for the scheme `nostr`")
            }
            (Some(_), ..) => Err("`event` has the key and the signature: give it alone"),
            (None, _, _, Some(Scheme::Nostr)) => Err("the scheme `nostr` needs `event`"),
            (None, Some(_), Some(_), _) => Err("give `pubkey` or `address`, not both"),
            (None, None, _, Some(Scheme::Siwe)) => {
                Err("the scheme `siwe` needs `address`, and no `pubkey`")
            }
            (None, Some(address), None, None | Some(Scheme::Siwe)) => Ok(Self::Siwe {
                address,
                signature: signature.ok_or(NO_SIGNATURE)?,
            }),
            (None, Some(_), None, Some(_)) => Err("`address` is for the scheme `siwe`"),
            (None, None, Some(pubkey), scheme) => Ok(Self::Signature {
                pubkey,
                scheme: scheme.unwrap_or_default(),
                signature: signature.ok_or(NO_SIGNATURE)?,
            }),
            (None, None, None, _) => Err("missing field `pubkey` (or `address`, or `event`)"),
        }
    }
}
