use std::io;
use std::sync::Arc;

use airseal_format::Digest;
use airseal_protocol::{CONTENT_TYPE_BYTES, ProblemCode};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;

use super::super::range::{Selection, select};
use super::{App, DeviceError, Named, release_for};
use crate::auth::Caller;
use crate::tls::KeyHash;

/// `GET` or `HEAD /d/v1/payload/{digest}`
pub(super) async fn payload(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
    decisions: Decisions,
    caller: Caller,
    Named(digest): Named,
) -> Result<Response, DeviceError> {
    let release = release_for(&app, &caller.device, &digest).await?;
    let len = release.payload_len;
    let etag = format!("\"{}\"", release.payload);
    let is_get = method == Method::GET;
    let (status, first, count) = match select(&headers, is_get, &etag, len) {
        Selection::Whole => (StatusCode::OK, 0, len),
        Selection::Part { first, last } => {
            let count = last.saturating_sub(first).saturating_add(1);
            (StatusCode::PARTIAL_CONTENT, first, count)
        }
        Selection::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Selection::PreconditionFailed => {
            return Err(DeviceError::new(ProblemCode::PreconditionFailed));
        }
        Selection::NotSatisfiable => return Err(DeviceError::range(len)),
    };
    let body = if is_get && status != StatusCode::NOT_MODIFIED {
        let mut file = app.blobs.read(&release.payload).await.map_err(failed)?;
        file.seek(io::SeekFrom::Start(first))
            .await
            .map_err(failed)?;
        let download = Download {
            file,
            rest: count,
            app: Arc::clone(&app),
            decisions: decisions.0,
            key: caller.key,
            digest,
        };
        Body::from_stream(stream::try_unfold(download, Download::next))
    } else {
        Body::empty()
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    set(headers, header::ETAG, &etag);
    set(headers, header::ACCEPT_RANGES, "bytes");
    set(headers, header::CACHE_CONTROL, "private, no-transform");
    if status != StatusCode::NOT_MODIFIED {
        set(headers, header::CONTENT_TYPE, CONTENT_TYPE_BYTES);
        set(headers, header::CONTENT_LENGTH, &count.to_string());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first.saturating_add(count).saturating_sub(1);
        let range = format!("bytes {first}-{last}/{len}");
        set(headers, header::CONTENT_RANGE, &range);
    }
    Ok(response)
}

/// Decisions of administrators, watched from before the device is looked up.
pub(super) struct Decisions(watch::Receiver<u64>);

impl axum::extract::FromRequestParts<Arc<App>> for Decisions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        _parts: &mut axum::http::request::Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self(app.live.watch()))
    }
}

/// A payload on its way.
struct Download {
    file: tokio::fs::File,
    rest: u64,
    app: Arc<App>,
    decisions: watch::Receiver<u64>,
    key: KeyHash,
    digest: Digest,
}

impl Download {
    /// The next piece. After a decision of an administrator it is asked again whether the device may go on; if not, the
    /// body ends in an error, which closes the connection short of the announced length.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.rest == 0 {
            return Ok(None);
        }
        if self.decisions.has_changed().unwrap_or(true) {
            self.decisions.mark_unchanged();
            self.ask_again().await?;
        }
        let piece = usize::try_from(self.rest).unwrap_or(PIECE).min(PIECE);
        let mut buffer = vec![0; piece];
        self.file.read_exact(&mut buffer).await?;
        self.rest = self
            .rest
            .saturating_sub(u64::try_from(piece).unwrap_or(u64::MAX));
        Ok(Some((buffer.into(), self)))
    }

    async fn ask_again(&self) -> io::Result<()> {
        let stopped = |_: DeviceError| io::Error::other("the release is withdrawn from the device");
        let caller = Caller::look_up(&self.app, self.key)
            .await
            .map_err(stopped)?;
        release_for(&self.app, &caller.device, &self.digest)
            .await
            .map_err(stopped)?;
        Ok(())
    }
}

fn failed(error: io::Error) -> DeviceError {
    tracing::error!(%error, "a payload can't be read");
    DeviceError::new(ProblemCode::Internal)
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Bytes read from the blob at a time.
const PIECE: usize = 64 * 1024;
