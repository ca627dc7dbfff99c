//! The administrators' interface.

mod devices;
mod import;
mod info;
mod products;
mod releases;
mod view;

use std::sync::Arc;

use airseal_format::{ClassId, VendorId};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;

use super::App;
use super::problem::AdminError;
use crate::store::{Note, Product};

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/server", get(info::server))
        .route("/api/v1/trust", get(info::trust))
        .route("/api/v1/audit", get(info::audit))
        .route("/api/v1/devices", get(devices::list).post(devices::create))
        .route(
            "/api/v1/device-imports",
            post(import::import).layer(DefaultBodyLimit::max(import::BODY_MAX)),
        )
        .route("/api/v1/devices/{id}", get(devices::show))
        .route("/api/v1/devices/{id}/revoke", post(devices::revoke))
        .route("/api/v1/devices/{id}/reinstate", post(devices::reinstate))
        .route(
            "/api/v1/products/{vendor}/{class}/trust",
            get(products::trust).put(products::set_trust),
        )
        .route(
            "/api/v1/releases",
            get(releases::list).post(releases::publish),
        )
        .route("/api/v1/releases/{digest}", get(releases::show))
        .route("/api/v1/releases/{digest}/yank", post(releases::yank))
        .route(
            "/api/v1/releases/{digest}/envelopes",
            post(releases::add_envelopes),
        )
        .fallback(|| async {
            AdminError::not_found("there is nothing under this path", "see docs/PROTOCOL.md")
        })
        .method_not_allowed_fallback(|| async { AdminError::method_not_allowed() })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            require_token,
        ))
        .with_state(app)
}

async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match token {
        Some(token) if app.tokens.accept(token.trim()) => next.run(request).await,
        _ => AdminError::unauthorized().into_response(),
    }
}

/// A path or a query; what is wrong with it is said as with everything else.
struct Checked<E>(E);

impl<S, E> FromRequestParts<S> for Checked<E>
where
    S: Sync,
    E: FromRequestParts<S>,
    E::Rejection: std::fmt::Display,
{
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let read = E::from_request_parts(parts, state).await;
        read.map(Self)
            .map_err(|rejection| AdminError::bad_request(rejection.to_string()))
    }
}

/// A JSON body; what is wrong with it is said.
struct JsonBody<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = AdminError;

    async fn from_request(request: Request, state: &Arc<App>) -> Result<Self, Self::Rejection> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| AdminError::bad_request(rejection.body_text()))?;
        from_json(&bytes).map(Self)
    }
}

/// Reads JSON that an administrator sent.
fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                let text = error.to_string();
                let words = text.split(" at line ").next().unwrap_or_default();
                words.replace('`', "'")
            }
            serde_json::error::Category::Eof => "it ends too early".to_owned(),
            _ => "it is no JSON".to_owned(),
        };
        AdminError::bad_request(format!("body, line {line} column {column}: {what}"))
    })
}

/// An audit note of an administrator's action.
fn note(app: &App, action: &str, subject: impl Into<String>, detail: impl Into<String>) -> Note {
    Note {
        actor: "admin".into(),
        action: action.into(),
        subject: subject.into(),
        detail: detail.into(),
        now: app.clock.now(),
    }
}

fn product(vendor: &str, class: &str) -> Result<Product, AdminError> {
    let id = |text: &str, name: &str| {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| {
            AdminError::bad_request(format!("{name}: must be 32 hexadecimal digits"))
        })?;
        Ok::<_, AdminError>(id)
    };
    Ok(Product {
        vendor_id: VendorId(id(vendor, "vendor_id")?),
        class_id: ClassId(id(class, "class_id")?),
    })
}

/// Text that people give and that goes into listings and the audit log.
fn check_text(text: &str, name: &str, max: usize) -> Result<(), AdminError> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(AdminError::bad_request(format!(
            "{name}: must be 1 to {max} bytes without control characters"
        )));
    }
    Ok(())
}
