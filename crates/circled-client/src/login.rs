//! Logging in: the server proves itself and asks for a signature, and what is signed is for this server alone.

use circled_protocol::{
    DeviceSecretKey, Origin, Scheme, SecretKey,
    code::{METHOD_NOT_FOUND, NOT_FOUND},
    methods::{Authenticate, FetchNonce, Prove},
};
use jiff::Timestamp;

use crate::{Client, Error, Signer};

/// The way to log in.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The signature scheme of a caller's own key. Device keys have one of theirs.
    pub scheme: Scheme,
    /// The server's own origin, if it is dialled by another name. Only a login there is signed.
    pub origin: Option<Origin>,
    /// Refuses a server that can't prove that it speaks for the circle. A wrong proof is always refused.
    pub require_proof: bool,
}

impl Client {
    /// Logs in: fetches the text to sign, checks that it is for this server, circle and key, and signs it.
    ///
    /// # Errors
    /// [`Error::Challenge`] if the text is for another one; then nothing is signed or sent. [`Error::Silent`] if the
    /// server takes more than 10 s for a step.
    pub async fn authenticate(&self, key: &SecretKey, scheme: Scheme) -> Result<(), Error> {
        self.authenticate_at(&self.0.origin, key, scheme).await
    }

    /// Logs in to a server that is dialled by another name than its own, for example behind a tunnel. The text must
    /// name `origin`, not the dialled one.
    ///
    /// # Errors
    /// The same as [`Client::authenticate`].
    pub async fn authenticate_at(
        &self,
        origin: &Origin,
        key: &SecretKey,
        scheme: Scheme,
    ) -> Result<(), Error> {
        let login = Login {
            scheme,
            origin: Some(origin.clone()),
            require_proof: false,
        };
        self.log_in(key, &login).await
    }

    /// Logs in by the key of a device, after the same checks. The session is that of the caller who has added the key.
    ///
    /// # Errors
    /// The same as [`Client::authenticate`]; [`Error::Rpc`] with `unknown_device` if the key was removed, or has expired.
    pub async fn authenticate_device(&self, key: &DeviceSecretKey) -> Result<(), Error> {
        self.log_in(key, &Login::default()).await
    }

    /// Logs in by a caller's key or a device's, as [`Client::authenticate`] does. The server must prove that it speaks for the circle, if the circle's
    /// owner has granted that to it, or `login` requires it.
    ///
    /// # Errors
    /// The same as [`Client::authenticate`]; [`Error::Proof`] or [`Error::NoProof`], and the connection is closed.
    pub async fn log_in(&self, key: impl Into<Signer>, login: &Login) -> Result<(), Error> {
        let origin = login.origin.as_ref().unwrap_or(&self.0.origin);
        let signer = key.into();
        let nonce = FetchNonce {
            pubkey: Some(signer.public()),
            scheme: signer.own_scheme(),
            ..FetchNonce::default()
        };
        // Together, they take no longer than one of them.
        let (proved, text) = tokio::join!(self.prove(origin), self.request_soon(&nonce));
        match proved {
            Ok(false) if login.require_proof => {
                self.0.sink.close().await;
                return Err(Error::NoProof);
            }
            Ok(_) => {}
            Err(error) => {
                if matches!(error, Error::Proof(_)) {
                    self.0.sink.close().await;
                }
                return Err(error);
            }
        }
        let text = text?;
        let scheme = signer.own_scheme().unwrap_or(login.scheme);
        let signature = signer.sign(&text, origin, &self.0.circle, scheme)?;
        let credentials = Authenticate {
            pubkey: nonce.pubkey,
            signature: Some(signature),
            scheme: Some(scheme),
            ..Authenticate::default()
        };
        self.request_soon(&credentials).await.map(drop)
    }

    /// Has the server prove that the circle's owner lets it speak for the circle at `origin`. Returns false if it has no
    /// grant, or is of a version without them.
    ///
    /// # Errors
    /// [`Error::Proof`] if the proof is worth nothing.
    pub async fn prove(&self, origin: &Origin) -> Result<bool, Error> {
        let mut challenge = [0; 32];
        getrandom::fill(&mut challenge).map_err(Error::Randomness)?;
        let prove = Prove {
            challenge: hex::encode(challenge),
        };
        let proof = match self.request_soon(&prove).await {
            Ok(proof) => proof,
            Err(Error::Rpc(error)) if [NOT_FOUND, METHOD_NOT_FOUND].contains(&error.code) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        proof.check(&self.0.circle, origin, &challenge, Timestamp::now())?;
        Ok(true)
    }
}
