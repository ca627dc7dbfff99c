use std::sync::Arc;

use airseal_format::signature::SigningPublicKey;
use airseal_format::trust::TrustAnchor;
use axum::Json;
use axum::extract::{Path, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::App;
use super::super::problem::AdminError;
use super::super::types::{ProductTrust, SetTrust, TrustKey};
use super::{Checked, JsonBody, note, product};
use crate::publish::{Refusal, check_keyset_file, split_keysets};
use crate::store::{Product, Trust};

/// `GET /api/v1/products/{vendor}/{class}/trust`
pub(super) async fn trust(
    State(app): State<Arc<App>>,
    Checked(Path((vendor, class))): Checked<Path<(String, String)>>,
) -> Result<Json<ProductTrust>, AdminError> {
    let product = product(&vendor, &class)?;
    let trust = app.store.trust(&product).await?.ok_or_else(|| {
        AdminError::not_found(
            "this product is not known yet",
            "its first release has to be published with --keyset or --trust",
        )
    })?;
    Ok(Json(view(&product, &trust)?))
}

/// `PUT /api/v1/products/{vendor}/{class}/trust`
pub(super) async fn set_trust(
    State(app): State<Arc<App>>,
    Checked(Path((vendor, class))): Checked<Path<(String, String)>>,
    JsonBody(request): JsonBody<SetTrust>,
) -> Result<Json<ProductTrust>, AdminError> {
    let product = product(&vendor, &class)?;
    let trust = read_trust(&request, &product)?;
    let view = view(&product, &trust)?;
    let subject = format!("{}/{}", view.vendor_id, view.class_id);
    let detail = format!("{} {}", view.kind, view.keyset_version);
    let note = note(&app, "product.trust", subject, detail);
    let is_set = app.store.set_first_trust(&product, &trust, &note).await?;
    if !is_set && app.store.trust(&product).await?.as_ref() != Some(&trust) {
        return Err(other_trust());
    }
    Ok(Json(view))
}

/// What an administrator gives as the trust of a product.
pub(super) fn read_trust(request: &SetTrust, product: &Product) -> Result<Trust, AdminError> {
    match (&request.keyset, request.keys.as_slice()) {
        (Some(keyset), []) => {
            let file = STANDARD
                .decode(keyset)
                .map_err(|_| AdminError::bad_request("keyset: must be base64"))?;
            check_keyset_file(&file, product)?;
            Ok(Trust::Keysets(file))
        }
        (None, keys @ [_, ..]) if keys.len() <= KEYS_MAX => {
            let keys = keys.iter().map(public_key).collect::<Result<Vec<_>, _>>()?;
            TrustAnchor::new(&keys).map_err(Refusal::Format)?;
            Ok(Trust::Keys(keys))
        }
        _ => Err(AdminError::bad_request(
            "give either keyset or 1 to 16 keys",
        )),
    }
}

/// The answer to trust that is not the product's.
pub(super) fn other_trust() -> AdminError {
    AdminError::conflict(
        "this product has its trust already",
        "it moves on by itself with the keysets that releases carry; leave out --keyset and --trust",
    )
}

fn view(product: &Product, trust: &Trust) -> Result<ProductTrust, AdminError> {
    let (kind, keyset_version) = match trust {
        Trust::Keys(_) => ("keys", 0),
        Trust::Keysets(chain) => {
            let chain = split_keysets(chain).map_err(Refusal::Format)?;
            ("keyset", chain.last().map_or(0, |(version, _)| *version))
        }
    };
    Ok(ProductTrust {
        vendor_id: product.vendor_id.to_string(),
        class_id: product.class_id.to_string(),
        kind: kind.into(),
        keyset_version,
    })
}

pub(super) fn public_key(key: &TrustKey) -> Result<SigningPublicKey, AdminError> {
    let wrong = || {
        AdminError::bad_request(
            "keys: must be ed25519 with 64 hexadecimal digits, or ecdsa-p256 with 130",
        )
    };
    let bytes = hex::decode(&key.public_key).map_err(|_| wrong())?;
    match key.algorithm.as_str() {
        "ed25519" => bytes
            .try_into()
            .map(SigningPublicKey::Ed25519)
            .map_err(|_| wrong()),
        "ecdsa-p256" => bytes
            .try_into()
            .map(SigningPublicKey::EcdsaP256)
            .map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

const KEYS_MAX: usize = 16;
