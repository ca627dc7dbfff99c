use std::collections::HashMap;
use std::sync::Arc;

use airseal_format::recipient::recipient_id;
use airseal_format::signature::SigningPublicKey;
use airseal_format::{
    HardwareRevision, KeysetVersion, ReleaseOrder, ReleaseSequence, SecurityVersion, WrapSuite,
};
use axum::Json;
use axum::extract::State;
use sha2::{Digest as _, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::super::App;
use super::super::problem::AdminError;
use super::super::types::{DevicesImported, ImportDevice, ImportDevices};
use super::devices::{NAME_RULE, fresh_id, is_name};
use super::products::public_key;
use super::{JsonBody, note, product};
use crate::store::{Import, ImportOutcome, LineFault, NewDevice};
use crate::tls::KeyHash;

/// Longest list in bytes: 100,000 devices with their records.
pub(super) const BODY_MAX: usize = 256 << 20;

/// `POST /api/v1/device-imports`
pub(super) async fn import(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<ImportDevices>,
) -> Result<Json<DevicesImported>, AdminError> {
    if request.devices.is_empty() || request.devices.len() > DEVICES_MAX {
        return Err(AdminError::bad_request(format!(
            "devices: must be 1 to {DEVICES_MAX}; split a longer list"
        )));
    }
    let mut devices = Vec::with_capacity(request.devices.len());
    let mut faults = Vec::new();
    for device in &request.devices {
        match read(device) {
            Ok(device) => devices.push(device),
            Err(what) => faults.push(LineFault {
                line: device.line,
                what,
            }),
        }
    }
    twice(&devices, &mut faults);
    if !faults.is_empty() {
        faults.sort_by_key(|fault| fault.line);
        return Err(AdminError::lines(&faults));
    }
    let count = devices.len();
    let import = Import {
        devices,
        replace: request.replace,
        dry_run: request.dry_run,
    };
    let note = note(&app, "device.import", format!("{count} devices"), "");
    let done = match app.store.import(&import, &note).await? {
        ImportOutcome::Done(done) => done,
        ImportOutcome::Refused(faults) => return Err(AdminError::lines(&faults)),
    };
    if !import.dry_run {
        done.revoked.iter().for_each(|key| app.live.cut(key));
        tracing::info!(
            added = done.added,
            replaced = done.replaced,
            "devices imported"
        );
    }
    Ok(Json(DevicesImported {
        dry_run: import.dry_run,
        added: done.added,
        activated: done.activated,
        unchanged: done.unchanged,
        replaced: done.replaced,
        revived: done.revived,
    }))
}

fn read(device: &ImportDevice) -> Result<NewDevice, String> {
    if !is_name(&device.serial) {
        return Err(format!("serial: {NAME_RULE}"));
    }
    let named = |what: &str| format!("{}: {what}", device.serial);
    let product = product(&device.vendor_id, &device.class_id)
        .map_err(|_| named("vendor_id and class_id: must be 32 hexadecimal digits each"))?;
    let key = public_key(&device.request_key).map_err(|_| {
        named("request_key: must be ed25519 with 64 hexadecimal digits, or ecdsa-p256 with 130")
    })?;
    let suite = match WrapSuite::from_number(device.wrap_suite) {
        Some(suite @ (WrapSuite::HpkeX25519 | WrapSuite::HpkeP256)) => suite,
        _ => return Err(named("wrap_suite: must be 1 (X25519) or 2 (P-256)")),
    };
    let len = if suite == WrapSuite::HpkeX25519 {
        32
    } else {
        65
    };
    let recipient_key = hex::decode(&device.recipient_key)
        .ok()
        .filter(|key| key.len() == len)
        .ok_or_else(|| {
            named(&format!(
                "recipient_key: must be {} hexadecimal digits",
                2 * len
            ))
        })?;
    if suite == WrapSuite::HpkeX25519 && is_low_order(&recipient_key) {
        return Err(named(
            "recipient_key: is a point of low order, to which nothing can be sealed",
        ));
    }
    let id = recipient_id(suite, &recipient_key);
    let said = device
        .record
        .as_ref()
        .and_then(|record| record.get("device_id")?.as_str());
    if said.is_some_and(|said| !said.is_empty() && !said.eq_ignore_ascii_case(&hex::encode(id.0))) {
        return Err(named(
            "device_id: is not that of its unseal key: the record was changed",
        ));
    }
    let record = device.record.as_ref().map(ToString::to_string);
    Ok(NewDevice {
        line: device.line,
        id: fresh_id().map_err(|_| named("the system gives no random bytes"))?,
        name: device.serial.clone(),
        product,
        hw_rev: HardwareRevision(device.hw_rev),
        key: key_hash(&key),
        wrap_suite: device.wrap_suite,
        recipient_id: id,
        recipient_key,
        order: ReleaseOrder {
            keyset_version: KeysetVersion(0),
            release_seq: ReleaseSequence(device.release_seq),
        },
        security_version: SecurityVersion(device.security_version),
        record: record.unwrap_or_else(|| "{}".to_owned()),
    })
}

/// Whether every shared secret with this X25519 key is zero (RFC 7748, 6.1).
fn is_low_order(key: &[u8]) -> bool {
    let key: Result<[u8; 32], _> = key.try_into();
    key.is_ok_and(|key| {
        !StaticSecret::from([1; 32])
            .diffie_hellman(&PublicKey::from(key))
            .was_contributory()
    })
}

/// The hash that a connection with this key will show: over its SubjectPublicKeyInfo (RFC 8410, RFC 5480).
fn key_hash(key: &SigningPublicKey) -> KeyHash {
    let hash = Sha256::new();
    let hash = match key {
        SigningPublicKey::Ed25519(bytes) => hash.chain_update(ED25519_HEAD).chain_update(bytes),
        SigningPublicKey::EcdsaP256(bytes) => hash.chain_update(P256_HEAD).chain_update(bytes),
    };
    KeyHash(hash.finalize().into())
}

/// Names, keys and recipients are each one device's.
fn twice(devices: &[NewDevice], faults: &mut Vec<LineFault>) {
    let mut seen: HashMap<(&str, &[u8]), u64> = HashMap::new();
    for device in devices {
        let of = [
            ("serial", device.name.as_bytes()),
            ("request key", &device.key.0[..]),
            ("unseal key", &device.recipient_id.0[..]),
        ];
        for (what, value) in of {
            if let Some(line) = seen.insert((what, value), device.line) {
                faults.push(LineFault {
                    line: device.line,
                    what: format!("{}: its {what} stands in line {line} too", device.name),
                });
            }
        }
    }
}

const DEVICES_MAX: usize = 100_000;

const ED25519_HEAD: [u8; 12] = [
    0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0,
];
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A,
    0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0,
];
