use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::super::App;
use super::super::problem::AdminError;
use super::super::types::{AuditEntry, AuditList, ServerInfo, TrustInfo};
use super::Checked;

/// `GET /api/v1/server`
pub(super) async fn server(State(app): State<Arc<App>>) -> Result<Json<ServerInfo>, AdminError> {
    let counts = app.store.counts().await?;
    Ok(Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        custody: "blind".into(),
        content_keys_held: 0,
        signing_keys_held: 0,
        https: app.about.https.clone(),
        public_url: app.about.public_url.clone(),
        ca_sha256: app.about.ca_sha256.clone(),
        devices: counts
            .devices
            .into_iter()
            .map(|(state, count)| (state.name().to_owned(), count))
            .collect(),
        releases: counts.releases,
    }))
}

/// `GET /api/v1/trust`
pub(super) async fn trust(State(app): State<Arc<App>>) -> Json<TrustInfo> {
    Json(TrustInfo {
        ca_pem: app.about.ca_pem.clone(),
        ca_sha256: app.about.ca_sha256.clone(),
        c_header: c_header(&app.about.ca_pem, &app.about.ca_sha256),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    limit: Option<u32>,
}

/// `GET /api/v1/audit`
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    Checked(Query(query)): Checked<Query<AuditQuery>>,
) -> Result<Json<AuditList>, AdminError> {
    let limit = query.limit.unwrap_or(100).min(1000);
    let rows = app.store.audit(limit).await?;
    Ok(Json(AuditList {
        rows: rows
            .into_iter()
            .map(|row| AuditEntry {
                number: row.number,
                at: row.note.now,
                actor: row.note.actor,
                action: row.note.action,
                subject: row.note.subject,
                detail: row.note.detail,
            })
            .collect(),
    }))
}

/// The certificate as a C string, line by line.
fn c_header(pem: &str, sha256: &str) -> String {
    let mut lines = String::new();
    for line in pem.lines() {
        let _ = write!(lines, " \\\n    \"{line}\\n\"");
    }
    format!(
        "/* The certificate authority of an Airseal server, to be pinned by firmware. */\n\
         #ifndef AIRSEAL_TRUST_H\n\
         #define AIRSEAL_TRUST_H\n\n\
         /* SHA-256 of the certificate (DER). */\n\
         #define AIRSEAL_CA_SHA256 \"{sha256}\"\n\n\
         #define AIRSEAL_CA_PEM{lines}\n\n\
         #endif\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_header_is_one_string_per_line() {
        let header = c_header("-----BEGIN X-----\nAA==\n-----END X-----\n", "ab");
        assert!(header.contains(
            "#define AIRSEAL_CA_PEM \\\n    \"-----BEGIN X-----\\n\" \\\n    \"AA==\\n\" \\\n    \"-----END X-----\\n\"\n\n#endif"
        ));
    }
}
