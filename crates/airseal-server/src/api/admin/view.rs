//! From what the store remembers to what administrators see.

use super::super::types::{DeviceInfo, ReleaseInfo, ReleaseRef, ReportInfo};
use crate::store::{Device, EnrolmentState, Release, ReportRow};

pub(super) fn device(device: &Device) -> DeviceInfo {
    DeviceInfo {
        id: device.id.clone(),
        name: device.name.clone(),
        state: device.state.name().into(),
        reason: device.reason.clone(),
        vendor_id: device.product.map(|product| product.vendor_id.to_string()),
        class_id: device.product.map(|product| product.class_id.to_string()),
        key_sha256: device.key.map(|key| key.to_string()),
        recipient_id: device.recipient_id.map(|id| id.to_string()),
        wrap_suite: device.recipient_key.as_ref().map(|(suite, _)| *suite),
        recipient_key: device
            .recipient_key
            .as_ref()
            .map(|(_, key)| hex::encode(key)),
        hw_rev: device.hw_rev.0,
        created_at: device.created_at,
        claim_expires_at: (device.state == EnrolmentState::Claimed)
            .then_some(device.claim_expires_at),
        enrolled_at: device.enrolled_at,
        last_seen_at: device.last_seen_at,
        installed: device.installed.map(|digest| digest.to_string()),
        release_seq: device.order.release_seq.0,
        security_version: device.security_version.0,
        keyset_version: device.keyset_version.0,
        held: device.held.map(|digest| digest.to_string()),
    }
}

pub(super) fn release(release: &Release) -> ReleaseInfo {
    ReleaseInfo {
        manifest_digest: release.digest.to_string(),
        vendor_id: release.product.vendor_id.to_string(),
        class_id: release.product.class_id.to_string(),
        version: release.version.clone(),
        release_seq: release.order.release_seq.0,
        keyset_version: release.order.keyset_version.0,
        security_version: release.security_version.0,
        hw_rev: [release.hw_rev_min.0, release.hw_rev_max.0],
        content_suite: release.content_suite,
        targets: release.targets.iter().map(ToString::to_string).collect(),
        payload_len: release.payload_len,
        payload_sha256: release.payload.to_string(),
        built_at: release.built_at,
        published_at: release.published_at,
        yanked_at: release.yanked.as_ref().map(|(at, _)| *at),
        yank_reason: release.yanked.as_ref().map(|(_, reason)| reason.clone()),
    }
}

pub(super) fn release_ref(release: &Release) -> ReleaseRef {
    ReleaseRef {
        manifest_digest: release.digest.to_string(),
        version: release.version.clone(),
        release_seq: release.order.release_seq.0,
    }
}

pub(super) fn report(report: &ReportRow) -> ReportInfo {
    ReportInfo {
        manifest_digest: report.digest.to_string(),
        stage: report.stage.clone(),
        code: report.code,
        attempt: report.attempt,
        detail: report.detail.clone(),
        at: report.at,
    }
}
