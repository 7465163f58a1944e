//! The Tower layer that lets nothing through but what a provider has signed.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Path},
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use quick_cache::sync::Cache;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tower::{Layer, Service};

use super::{
    body::Form,
    provider::{Provider, Providers},
    refusal::Refusal,
    scheme::Unsigned,
    settings::Settings,
};
use crate::{auth::PublicKey, rpc::Shared};

type Request = axum::http::Request<Body>;

/// A request whose signature was right. Whatever stands behind [`VerifyLayer`] finds it among the request's
/// extensions.
#[derive(Clone)]
pub struct Verified {
    /// Who signed it.
    pub provider: Arc<Provider>,
    /// For which circle.
    pub circle: PublicKey,
    /// The raw body, exactly as it was signed.
    pub body: Bytes,
    /// How the body is written.
    pub(super) form: Form,
    /// The event's name, where that is signed.
    pub(super) signed_id: Option<String>,
    /// Keeps the body's room for as long as anybody has it.
    _room: Arc<OwnedSemaphorePermit>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("provider", &self.provider.name)
            .field("circle", &self.circle)
            .finish_non_exhaustive()
    }
}

/// Bytes that may be worked through without letting this thread's other requests go on elsewhere.
const LONG: usize = 64 << 10;

/// Does work on a body of so many bytes.
pub(super) fn at_length<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    if bytes > LONG {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// Puts [`Verify`] in front of a service.
#[derive(Debug, Clone)]
pub struct VerifyLayer(Arc<Verifier>);

#[derive(Debug)]
struct Verifier {
    shared: Arc<Shared>,
    providers: Arc<Providers>,
    settings: Settings,
    /// Circles by what they were called lately: finding a point of the curve takes microseconds.
    circles: Cache<String, PublicKey>,
    /// Bytes of bodies that may still be taken in, in units of [`UNIT`].
    room: Arc<Semaphore>,
}

/// Names of circles that are remembered.
const CIRCLES: usize = 1024;
/// Bytes that one permit stands for: a semaphore can't count as far as memory goes.
const UNIT: usize = 1 << 10;

/// Buffers the body of each request, checks its signature, and hands it on as [`Verified`]; answers whatever
/// isn't signed by itself.
#[derive(Debug, Clone)]
pub struct Verify<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

impl VerifyLayer {
    /// For these providers' deliveries to the circles that `shared` serves.
    pub fn new(settings: &Settings, providers: Arc<Providers>, shared: Arc<Shared>) -> Self {
        let room = (settings.max_buffered / UNIT).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Verifier {
            shared,
            providers,
            settings: settings.clone(),
            circles: Cache::new(CIRCLES),
            room: Arc::new(Semaphore::new(room)),
        }))
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = Verify<S>;

    fn layer(&self, inner: S) -> Verify<S> {
        Verify {
            inner,
            verifier: self.0.clone(),
        }
    }
}

impl<S> Service<Request> for Verify<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that is ready is called; its clone waits to become so.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            match verifier.verify(request).await {
                Ok(request) => inner.call(request).await,
                Err(refusal) => Ok(refusal.into_response()),
            }
        })
    }
}

impl Verifier {
    async fn verify(&self, request: Request) -> Result<Request, Refusal> {
        let (mut parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err(Refusal::NotAPost);
        }
        let (provider, circle) = self.addressee(&mut parts).await?;
        let form = Form::of(&parts.headers, &provider.reading.forms).ok_or(Refusal::MediaType)?;
        let unsigned = |why: Unsigned| {
            tracing::warn!(provider = %provider.name, %circle, reason = %why, "webhook refused");
            Refusal::Unsigned
        };
        // What is refused by its headers alone isn't read.
        let now = Timestamp::now();
        let claim = provider
            .scheme
            .claim(&parts.headers, now, provider.tolerance);
        let claim = claim.map_err(unsigned)?;
        let room = self.room(&parts.headers)?;
        let body = self.receive(body).await?;
        let verify = || {
            provider
                .scheme
                .verify(&claim, &body, provider.keys(&circle))
        };
        at_length(body.len(), verify).map_err(unsigned)?;
        let signed_id = Some(claim.id.to_owned()).filter(|id| !id.is_empty());
        parts.extensions.insert(Verified {
            provider,
            circle,
            body,
            form,
            signed_id,
            _room: Arc::new(room),
        });
        Ok(Request::from_parts(parts, Body::empty()))
    }

    /// The provider and the circle that the path names.
    async fn addressee(&self, parts: &mut Parts) -> Result<(Arc<Provider>, PublicKey), Refusal> {
        let Path((provider, circle)) = Path::<(String, String)>::from_request_parts(parts, &())
            .await
            .map_err(|_| Refusal::NotAKey)?;
        let provider = self.providers.get(&provider);
        let provider = provider.ok_or(Refusal::UnknownProvider)?;
        let circle = match self.circles.get(&circle) {
            Some(known) => known,
            None => {
                let parsed: PublicKey = circle.parse().map_err(|_| Refusal::NotAKey)?;
                self.circles.insert(circle, parsed);
                parsed
            }
        };
        if !self.shared.access.serves(&circle) {
            return Err(Refusal::UnknownCircle);
        }
        // With no key, nothing could be right.
        if provider.keys(&circle).is_empty() {
            return Err(Refusal::UnknownProvider);
        }
        Ok((provider.clone(), circle))
    }

    /// Takes room for the body, as long as it says it is, or else as long as it may be.
    fn room(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Refusal> {
        let most = self.settings.max_body;
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let length = match length {
            Some(length) => usize::try_from(length)
                .ok()
                .filter(|length| *length <= most)
                .ok_or(Refusal::TooLarge)?,
            None => most,
        };
        let units = u32::try_from(length.div_ceil(UNIT)).map_err(|_| Refusal::TooLarge)?;
        let room = self.room.clone().try_acquire_many_owned(units);
        room.map_err(|_| Refusal::Busy)
    }

    async fn receive(&self, body: Body) -> Result<Bytes, Refusal> {
        let receiving = to_bytes(body, self.settings.max_body);
        match timeout(self.settings.receive_timeout, receiving).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) if is_too_long(&error) => Err(Refusal::TooLarge),
            Ok(Err(_)) => Err(Refusal::CutOff),
            Err(_) => Err(Refusal::TooSlow),
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    use std::error::Error;

    error
        .source()
        .is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
