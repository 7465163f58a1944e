//! The Tower layer that passes on only requests that a provider has signed.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Path},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use circled_protocol::PublicKey;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tower::{Layer, Service};

use super::{
    body::Form,
    body_memory::{BodyMemory, BodyReservation, Limits},
    provider::{Provider, Providers},
    receive::{ReceiveLimits, receive},
    refusal::{NoProvider, WebhookRefusal},
    refusals::{Attempt, WebhookRefusals},
    scheme::Unsigned,
    settings::Settings,
};
use crate::{
    address::{Client, Network},
    dispatch::{self, Happening},
    metrics::{WebhookLabels, metrics},
    pace::Pace,
    rpc::Shared,
};

type Request = axum::http::Request<Body>;

/// A request with a right signature. Services behind [`VerifyLayer`] find it among the request's extensions.
#[derive(Clone)]
pub struct Verified {
    /// The provider that signed it.
    pub provider: Arc<Provider>,
    /// The circle that it is for.
    pub circle: PublicKey,
    /// The raw body, exactly as it was signed.
    pub body: Bytes,
    /// The form of the body.
    pub(super) form: Form,
    /// The event's id, if it is signed.
    pub(super) signed_id: Option<String>,
    /// The signed time of the request, if its script responds to it.
    pub(super) asked_at: Option<String>,
    /// Keeps the body's memory reserved while the body is in use.
    _reservation: Arc<BodyReservation>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("provider", &self.provider.name)
            .field("circle", &self.circle)
            .finish_non_exhaustive()
    }
}

/// The size in bytes up to which a body is processed without moving this thread's other requests elsewhere.
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
    providers: ArcSwap<Providers>,
    limits: ReceiveLimits,
    body_memory: BodyMemory,
    refusals: WebhookRefusals,
}

/// The most bytes of an unsigned body that is read, for providers that check certificates with one.
const LONGEST_CHECK: usize = 1 << 10;
/// The time that a body has before `webhooks.min_rate` applies.
const FIRST: Duration = Duration::from_secs(3);

/// Buffers the body of each request, checks its signature, and passes it on as [`Verified`]. Refuses unsigned requests
/// itself.
#[derive(Debug, Clone)]
pub struct Verify<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

impl VerifyLayer {
    /// Creates the layer for these providers' deliveries to the circles that `shared` serves.
    pub fn new(settings: &Settings, providers: Providers, shared: Arc<Shared>) -> Self {
        let all = settings.max_buffered;
        Self(Arc::new(Verifier {
            shared,
            providers: ArcSwap::from_pointee(providers),
            limits: ReceiveLimits {
                most: settings.max_body,
                timeout: settings.receive_timeout.get(),
                pace: Pace {
                    first: FIRST,
                    rate: settings.min_rate.get(),
                },
            },
            body_memory: BodyMemory::new(Limits {
                all,
                per_address: settings.max_buffered_per_address.min(all),
                per_mailbox: settings.max_buffered_per_circle.min(all),
            }),
            refusals: WebhookRefusals::new(settings.refusals_logged, Instant::now()),
        }))
    }

    /// Returns the counts of refusals.
    pub fn refusals(&self) -> &WebhookRefusals {
        &self.0.refusals
    }

    /// Refuses a request because of its path, before the layer sees it.
    pub(crate) fn refuse(&self, path: &str, refusal: WebhookRefusal) -> Response {
        let mut attempt = Attempt::default();
        attempt.name(path);
        self.0.refusals.tell(&refusal, &attempt, Instant::now());
        let response = refusal.into_response();
        count(&attempt, response.status());
        response
    }

    /// Replaces the providers. Returns the settings that name other secrets than before.
    pub fn replace(&self, providers: Providers) -> Vec<String> {
        let providers = Arc::new(providers);
        let before = self.0.providers.swap(providers.clone());
        providers.changed_since(&before)
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
        // The ready service is called; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            let mut attempt = Attempt::default();
            let answered = if request.method() == Method::GET {
                verifier.check_address(request, &mut attempt).await
            } else {
                match verifier.verify(request, &mut attempt).await {
                    Ok(Some(request)) => Ok(inner.call(request).await?),
                    Ok(None) => Ok(StatusCode::OK.into_response()),
                    Err(refusal) => Err(refusal),
                }
            };
            let response = answered.unwrap_or_else(WebhookRefusal::into_response);
            if let Some(refusal) = response.extensions().get() {
                let now = Instant::now();
                verifier.refusals.tell(refusal, &attempt, now);
                if let Some(circle) = &attempt.circle {
                    dispatch::count(circle, Happening::Refused);
                }
            }
            count(&attempt, response.status());
            Ok(response)
        })
    }
}

impl Verifier {
    /// Returns the response to a GET that checks the address, for providers that send one.
    async fn check_address(
        &self,
        request: Request,
        attempt: &mut Attempt,
    ) -> Result<Response, WebhookRefusal> {
        let (mut parts, _) = request.into_parts();
        let (provider, _) = self.addressee(&mut parts, attempt).await?;
        let query = parts.uri.query().unwrap_or_default();
        let check = provider.certificate_check.as_ref();
        if check.is_some_and(|check| check.is_in(query.as_bytes())) {
            return Ok(StatusCode::OK.into_response());
        }
        let check = provider
            .address_check
            .as_ref()
            .ok_or(WebhookRefusal::NotAPost)?;
        check.answer(query).map_err(WebhookRefusal::Unsigned)
    }

    /// Returns the request with the verified parts; `None` for a check of the server's certificate.
    async fn verify(
        &self,
        request: Request,
        attempt: &mut Attempt,
    ) -> Result<Option<Request>, WebhookRefusal> {
        let (mut parts, body) = request.into_parts();
        let announced = length(&parts.headers);
        attempt.bytes = announced;
        let (provider, circle) = self.addressee(&mut parts, attempt).await?;
        let form =
            Form::of(&parts.headers, &provider.reading.forms).ok_or(WebhookRefusal::MediaType)?;
        // A request that is refused by its headers alone isn't read.
        let now = Timestamp::now();
        let signed = provider
            .scheme
            .read_headers(&parts.headers, now, provider.tolerance);
        let check = provider.certificate_check.as_ref();
        let check = check.filter(|_| form == Form::Form);
        let mut limits = self.limits;
        match signed {
            Err(Unsigned::Missing) if check.is_some() => limits.most = LONGEST_CHECK,
            Err(unsigned) => return Err(WebhookRefusal::Unsigned(unsigned)),
            Ok(_) => {}
        }
        let mut reservation = {
            let client = parts.extensions.get().copied();
            let Client(address) = client.unwrap_or(Client(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
            let mailbox = (provider.name.clone(), circle);
            self.body_memory.reserve(Network::of(address), mailbox)
        };
        let received = attempt.bytes.insert(0);
        let body = receive(body, announced, &limits, &mut reservation, received).await;
        let body = body.map_err(|refusal| match (refusal, &signed) {
            // The body is too long for an unsigned one.
            (WebhookRefusal::TooLarge, Err(unsigned)) => WebhookRefusal::Unsigned(*unsigned),
            (other, _) => other,
        })?;
        if check.is_some_and(|check| check.is_in(&body)) {
            return Ok(None);
        }
        let signed = signed.map_err(WebhookRefusal::Unsigned)?;
        let verify = || {
            provider
                .scheme
                .verify(&signed, &body, provider.keys(&circle))
        };
        at_length(body.len(), verify).map_err(WebhookRefusal::Unsigned)?;
        let signed_id = Some(signed.id.to_owned()).filter(|id| !id.is_empty());
        let asked_at = provider.reading.respond.contains(&form);
        let asked_at = asked_at.then(|| signed.timestamp.to_owned());
        parts.extensions.insert(Verified {
            provider,
            circle,
            body,
            form,
            signed_id,
            asked_at,
            _reservation: Arc::new(reservation),
        });
        Ok(Some(Request::from_parts(parts, Body::empty())))
    }

    /// Returns the provider and the circle that the path names.
    async fn addressee(
        &self,
        parts: &mut Parts,
        attempt: &mut Attempt,
    ) -> Result<(Arc<Provider>, PublicKey), WebhookRefusal> {
        let Ok(Path((name, circle))) =
            Path::<(String, String)>::from_request_parts(parts, &()).await
        else {
            attempt.name(parts.uri.path());
            return Err(WebhookRefusal::Misaddressed);
        };
        let providers = self.providers.load();
        let Some(provider) = providers.get(&name).cloned() else {
            attempt.name(&name);
            return Err(match parts.method {
                Method::POST => WebhookRefusal::UnknownProvider(providers.missing(&name)),
                _ => WebhookRefusal::NotAPost,
            });
        };
        attempt.provider = Some(provider.clone());
        let is_asked = provider.address_check.is_some() || provider.certificate_check.is_some();
        let asks = parts.method == Method::GET && is_asked;
        if parts.method != Method::POST && !asks {
            return Err(WebhookRefusal::NotAPost);
        }
        let circles = &self.shared.circles;
        let circle = circles.parse(&circle, str::parse);
        let circle = circle.map_err(|_| WebhookRefusal::NotAKey)?;
        attempt.circle = Some(circle);
        if !self.shared.access.serves(&circle) {
            return Err(WebhookRefusal::UnknownCircle);
        }
        // Without a key, no signature can be right.
        if provider.keys(&circle).is_empty() {
            return Err(WebhookRefusal::UnknownProvider(NoProvider::OffHere));
        }
        Ok((provider, circle))
    }
}

/// Counts a request, by its provider if the settings have that.
fn count(attempt: &Attempt, status: StatusCode) {
    let provider = attempt
        .provider
        .as_ref()
        .map(|provider| provider.name.clone());
    let labels = WebhookLabels {
        provider: provider.unwrap_or_else(|| "other".into()),
        status: status.as_u16(),
    };
    metrics().webhooks.get_or_create(&labels).increment();
}

/// Returns the announced length of the body.
fn length(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.parse().ok()
}
