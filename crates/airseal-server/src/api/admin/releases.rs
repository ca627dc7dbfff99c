use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use airseal_format::{Digest, RecipientId};
use airseal_protocol::path::digest_from_hex;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::super::App;
use super::super::problem::AdminError;
use super::super::types::{
    EnvelopesAdded, Published, RecipientInfo, ReleaseDetail, ReleaseInfo, ReleaseList, SetTrust,
    TRUST_LEN_HEADER, YankRelease,
};
use super::products::{other_trust, read_trust};
use super::{Checked, JsonBody, check_text, from_json, note, view};
use crate::publish::{Refusal, Sections, read_pack};
use crate::store::{EnrolmentState, Inserted, Release, StoredEnvelope};

/// `POST /api/v1/releases`
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Published>), AdminError> {
    let upload = receive(&app, trust_len(&headers)?, body).await?;
    // From here on it ends as a whole, whether or not somebody waits for the answer.
    match tokio::spawn(store(app, upload)).await {
        Ok(answer) => answer,
        Err(error) => Err(AdminError::internal(&error)),
    }
}

async fn store(
    app: Arc<App>,
    Upload { given, file }: Upload,
) -> Result<(StatusCode, Json<Published>), AdminError> {
    let (sections, file) = blocking(move || {
        let sections = Sections::read(&mut file.reopen()?)?;
        Ok((sections, file))
    })
    .await?;
    let product = sections.product()?;
    let known = app.store.trust(&product).await?;
    let given = given
        .map(|given| read_trust(&given, &product))
        .transpose()?
        .filter(|given| !known.as_ref().is_some_and(|known| known.continues(given)));
    let Some(trust) = given.clone().or(known) else {
        return Err(AdminError::conflict(
            "this product is not known yet",
            format!(
                "vendor {} class {}: give --keyset FILE or --trust PUB with its first release",
                product.vendor_id, product.class_id
            ),
        ));
    };
    let (blobs, now) = (app.blobs.clone(), app.clock.now());
    let (mut new, stored) =
        blocking(move || sections.verify_and_store(&mut file.reopen()?, &trust, &blobs, now))
            .await?;
    new.given_trust = given;
    let ids: Vec<RecipientId> = new.envelopes.iter().map(|e| e.recipient_id).collect();
    let digest = new.release.digest;
    let note = note(
        &app,
        "release.publish",
        digest.to_string(),
        &new.release.version,
    );
    let (is_new, new_envelopes) = match app.store.insert_release(&new, &note).await? {
        Inserted::New => (true, u64::try_from(ids.len()).unwrap_or(u64::MAX)),
        Inserted::Known { new_envelopes } => (false, new_envelopes),
        Inserted::OtherTrust => {
            stored.discard();
            return Err(other_trust());
        }
        Inserted::SequenceTaken { by } => {
            stored.discard();
            return Err(AdminError::conflict(
                "another release has this sequence number",
                format!(
                    "release_seq {}: taken by {by}; seal with a higher --seq",
                    new.release.order.release_seq
                ),
            ));
        }
    };
    tracing::info!(release = %digest, version = %new.release.version, is_new, "published");
    let release = find(&app, &digest).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((
        status,
        Json(Published {
            release: view::release(&release),
            is_new,
            new_envelopes,
            warnings: warnings(&app, &digest, &ids).await?,
        }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    offset: Option<u32>,
    limit: Option<u32>,
}

/// `GET /api/v1/releases`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Checked(Query(query)): Checked<Query<ListQuery>>,
) -> Result<Json<ReleaseList>, AdminError> {
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    let offset = query.offset.unwrap_or(0);
    let releases = app.store.releases(offset, limit).await?;
    let is_full = u32::try_from(releases.len()).is_ok_and(|len| len == limit);
    Ok(Json(ReleaseList {
        releases: releases.iter().map(view::release).collect(),
        next: is_full.then(|| offset.saturating_add(limit)),
    }))
}

/// `GET /api/v1/releases/{digest}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Checked(Path(digest)): Checked<Path<String>>,
) -> Result<Json<ReleaseDetail>, AdminError> {
    let release = find(&app, &parse_digest(&digest)?).await?;
    let recipients = app.store.recipients_of(&release.digest).await?;
    Ok(Json(ReleaseDetail {
        release: view::release(&release),
        recipients: recipients
            .into_iter()
            .map(|recipient| RecipientInfo {
                recipient_id: recipient.recipient_id.to_string(),
                devices: recipient.devices,
            })
            .collect(),
        content_keys_held: 0,
    }))
}

/// `POST /api/v1/releases/{digest}/yank`
pub(super) async fn yank(
    State(app): State<Arc<App>>,
    Checked(Path(digest)): Checked<Path<String>>,
    JsonBody(request): JsonBody<YankRelease>,
) -> Result<Json<ReleaseInfo>, AdminError> {
    check_text(&request.reason, "reason", REASON_MAX)?;
    let digest = parse_digest(&digest)?;
    let note = note(&app, "release.yank", digest.to_string(), &request.reason);
    let release = app
        .store
        .yank(&digest, &request.reason, &note)
        .await?
        .ok_or_else(|| no_such_release(&digest))?;
    app.live.decided();
    tracing::info!(release = %digest, "yanked");
    Ok(Json(view::release(&release)))
}

/// `POST /api/v1/releases/{digest}/envelopes`
pub(super) async fn add_envelopes(
    State(app): State<Arc<App>>,
    Checked(Path(digest)): Checked<Path<String>>,
    body: Body,
) -> Result<Json<EnvelopesAdded>, AdminError> {
    let release = find(&app, &parse_digest(&digest)?).await?;
    if release.content_suite == 0 {
        return Err(AdminError::bad_request(
            "the release is not encrypted and takes no envelopes",
        ));
    }
    let pack = match Limited::new(body, PACK_MAX).collect().await {
        Ok(pack) => pack.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Refusal::TooLarge("send at most 64 MiB of envelopes at a time").into());
        }
        Err(error) => return Err(AdminError::bad_request(error.to_string())),
    };
    let envelopes: Vec<StoredEnvelope> = read_pack(release.digest, &pack)?;
    let ids: Vec<RecipientId> = envelopes.iter().map(|e| e.recipient_id).collect();
    let note = note(
        &app,
        "release.envelopes",
        release.digest.to_string(),
        format!("{} envelopes", ids.len()),
    );
    let new_envelopes = app
        .store
        .add_envelopes(&release.digest, &envelopes, &note)
        .await?
        .ok_or_else(|| no_such_release(&release.digest))?;
    Ok(Json(EnvelopesAdded {
        manifest_digest: release.digest.to_string(),
        new_envelopes,
        warnings: warnings(&app, &release.digest, &ids).await?,
    }))
}

/// How much of the body is the trust given with the release.
fn trust_len(headers: &HeaderMap) -> Result<usize, AdminError> {
    let Some(value) = headers.get(TRUST_LEN_HEADER) else {
        return Ok(0);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|len| *len <= TRUST_MAX)
        .ok_or_else(|| {
            AdminError::bad_request(format!("{TRUST_LEN_HEADER}: must be 0 to {TRUST_MAX}"))
        })
}

/// A publication as it came in.
struct Upload {
    given: Option<SetTrust>,
    /// The bundle; the file vanishes unless something keeps it.
    file: NamedTempFile,
}

/// Takes `trust_len` bytes of trust, and writes the rest to a file.
async fn receive(app: &App, trust_len: usize, mut body: Body) -> Result<Upload, AdminError> {
    let upload = app.blobs.temporary().map_err(Refusal::Io)?;
    let mut file = tokio::fs::File::from_std(upload.reopen().map_err(Refusal::Io)?);
    let mut trust = Vec::new();
    let mut len = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            AdminError::bad_request(format!("the upload broke off after {len} bytes: {error}"))
        })?;
        let Ok(mut piece) = frame.into_data() else {
            continue;
        };
        let missing = trust_len.saturating_sub(trust.len());
        trust.extend(piece.split_to(missing.min(piece.len())));
        len = len.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if len > app.limits.upload_max {
            return Err(Refusal::TooLarge("raise the limit or split the release").into());
        }
        file.write_all(&piece).await.map_err(Refusal::Io)?;
    }
    file.flush().await.map_err(Refusal::Io)?;
    let given = match trust_len {
        0 => None,
        _ => Some(from_json(&trust)?),
    };
    Ok(Upload {
        given,
        file: upload,
    })
}

/// Runs work that reads files and hashes away from the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, AdminError> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(AdminError::from),
        Err(error) => Err(AdminError::internal(&io::Error::other(error))),
    }
}

/// Envelopes of this upload for devices that are not served: harmless here, but the file may travel elsewhere.
async fn warnings(
    app: &App,
    digest: &Digest,
    ids: &[RecipientId],
) -> Result<Vec<String>, AdminError> {
    let ids: BTreeSet<&RecipientId> = ids.iter().collect();
    let mut warnings = Vec::new();
    for recipient in app.store.recipients_of(digest).await? {
        if !ids.contains(&recipient.recipient_id) {
            continue;
        }
        for id in &recipient.devices {
            let Some(device) = app.store.device(id).await? else {
                continue;
            };
            if device.state != EnrolmentState::Active {
                warnings.push(format!(
                    "device {id} is {} and can open this release if it gets hold of the file: seal without it",
                    device.state.name()
                ));
            }
        }
    }
    Ok(warnings)
}

async fn find(app: &App, digest: &Digest) -> Result<Release, AdminError> {
    let release = app.store.release(digest).await?;
    release.ok_or_else(|| no_such_release(digest))
}

fn no_such_release(digest: &Digest) -> AdminError {
    AdminError::not_found(
        "there is no such release",
        format!("no release has the manifest digest {digest}; release list shows all"),
    )
}

fn parse_digest(text: &str) -> Result<Digest, AdminError> {
    digest_from_hex(text).map(Digest).ok_or_else(|| {
        AdminError::bad_request("manifest_digest: must be 64 lower-case hexadecimal digits")
    })
}

/// Largest trust that comes with a release: a keyset file of 1 MiB in base64.
const TRUST_MAX: usize = 2 << 20;

const REASON_MAX: usize = 200;

/// Largest envelope pack in one request.
const PACK_MAX: usize = 64 << 20;
