use std::sync::Arc;

use airseal_protocol::ProblemCode;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::{App, DeviceError};
use crate::store::{Device, EnrolmentState};
use crate::tls::KeyHash;

/// The key that the connection of a request proved.
pub(crate) struct PeerKey(pub(crate) KeyHash);

impl<S: Sync> FromRequestParts<S> for PeerKey {
    type Rejection = DeviceError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let key = parts.extensions.get::<KeyHash>().copied();
        key.map(PeerKey)
            .ok_or(DeviceError::new(ProblemCode::UnknownDevice))
    }
}

/// An active device. Looked up for every request, so that a decision holds from the next one on.
pub(crate) struct Caller {
    pub(crate) key: KeyHash,
    pub(crate) device: Device,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = DeviceError;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let PeerKey(key) = PeerKey::from_request_parts(parts, app).await?;
        Caller::look_up(app, key).await
    }
}

impl Caller {
    /// The active device behind `key`.
    pub(crate) async fn look_up(app: &App, key: KeyHash) -> Result<Self, DeviceError> {
        let device = app.store.device_by_key(&key).await?;
        let Some(device) = device else {
            return Err(DeviceError::new(ProblemCode::UnknownDevice));
        };
        match refusal(device.state) {
            None => Ok(Self { key, device }),
            Some(code) => {
                tracing::info!(device = %device.id, state = device.state.name(), "refused");
                Err(DeviceError::new(code))
            }
        }
    }
}

/// What a device in a state is told instead of an answer.
fn refusal(state: EnrolmentState) -> Option<ProblemCode> {
    match state {
        EnrolmentState::Active => None,
        EnrolmentState::Claimed => Some(ProblemCode::UnknownDevice),
        EnrolmentState::Revoked => Some(ProblemCode::Revoked),
    }
}
