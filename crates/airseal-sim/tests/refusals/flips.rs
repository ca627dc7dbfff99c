//! Every single flipped bit of every small part.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use airseal_format::{Part, Reason};
use airseal_sim::fixture::{KeysetPlan, Sealed};
use airseal_update::Refusal;

use crate::bench::{Bench, bits, serve};

/// Which refusals the flips in each byte of a part lead to, neighbours that agree in one
/// line.
fn survey(bench: &mut Bench, good: &Sealed, part: impl Fn(&mut Sealed) -> &mut [u8]) -> String {
    let len = part(&mut good.clone()).len();
    let mut lines: Vec<(usize, usize, String)> = Vec::new();
    for at in 0..len {
        let mut seen = BTreeSet::new();
        for bit in 0..8 {
            let mut bad = good.clone();
            part(&mut bad)[at] ^= 1 << bit;
            let refusal = bench.untouched(|device| serve(device, &bad));
            seen.insert(name(&refusal));
        }
        bench.still_boots();
        let seen = Vec::from_iter(seen).join(" | ");
        match lines.last_mut() {
            Some((_, end, last)) if *last == seen => *end = at + 1,
            _ => lines.push((at, at + 1, seen)),
        }
    }
    lines
        .iter()
        .fold(String::new(), |mut out, (from, to, seen)| {
            let _ = writeln!(out, "{from}..{to} {seen}");
            out
        })
}

fn name(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Format(error) => format!(
            "{}.{}@{} {}",
            error.part.word(),
            error.field,
            error.offset,
            error.reason.word()
        ),
        other => other.word().to_owned(),
    }
}

fn check(seen: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen, expected, "seen:\n{}", seen.join("\n"));
}

#[test]
fn every_flipped_bit_of_the_manifest() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let seen = survey(&mut bench, &good, |sealed| &mut sealed.manifest);
    check(&seen, MANIFEST);
    bench.accepts(&good);
}

#[test]
fn every_flipped_bit_of_the_signatures() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let seen = survey(&mut bench, &good, |sealed| &mut sealed.signatures);
    check(&seen, SIGNATURES);
    bench.accepts(&good);
}

#[test]
fn every_flipped_bit_of_a_keyset() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.keysets = vec![KeysetPlan::first().next().section()];
    let good = plan.seal();
    let seen = survey(&mut bench, &good, |sealed| &mut sealed.keysets[0]);
    check(&seen, KEYSET);
    assert_eq!(bench.device.keyset_version().unwrap().0, 1);
    bench.accepts(&good);
    assert_eq!(bench.device.keyset_version().unwrap().0, 2);
}

#[test]
fn every_flipped_bit_of_the_envelope() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let seen = survey(&mut bench, &good, |sealed| &mut sealed.envelopes[0]);
    check(&seen, ENVELOPE);
    bench.accepts(&good);
}

#[test]
fn every_flipped_bit_of_the_top() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let seen = survey(&mut bench, &good, |sealed| &mut sealed.payload[..64]);
    check(&seen, "0..64 payload.top@0 top-mismatch");
    bench.accepts(&good);
}

#[test]
fn every_flipped_bit_of_the_first_page() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let page = 64..64 + 32 * 32;
    let seen = survey(&mut bench, &good, |sealed| {
        &mut sealed.payload[page.clone()]
    });
    check(&seen, "0..1024 payload.page@64 page-mismatch");
    bench.accepts(&good);
}

#[test]
fn every_flipped_bit_between_the_sections() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let bundle = good.bundle();
    let (manifest, pack) = (good.manifest_section().len(), good.envelopes[0].len());
    let headers = [8, 24 + manifest, 40 + manifest + pack];
    let places = bits(8).chain(
        headers
            .iter()
            .flat_map(|&start| bits(16).map(move |(at, bit)| (start + at, bit))),
    );
    for (at, bit) in places {
        let mut bad = bundle.clone();
        bad[at] ^= bit;
        let refusal = bench.untouched(|device| device.update_from_bytes(&bad));
        let is_named = match refusal {
            Refusal::NotARelease(_) => at < 4,
            Refusal::ManifestTooLarge => (16..24).contains(&at),
            Refusal::Format(error) => match error.part {
                Part::Bundle => true,
                // A section of another length or kind: what stands there says so.
                Part::Signatures | Part::Manifest | Part::Envelope | Part::Keyset => {
                    at > 8 && at < headers[2]
                }
                Part::Payload => at >= headers[2] && error.reason == Reason::Sum,
                Part::Offer => false,
            },
            _ => false,
        };
        assert!(is_named, "bit {bit} of byte {at}: {refusal:?}");
        // Unwraps count until a restart.
        bench.still_boots();
    }
    bench.accepts(&good);
}

const MANIFEST: &str = "\
    0..4 not-a-release
    4..5 manifest.major@4 version
    5..6 manifest.minor@5 version
    6..8 manifest.header_len@6 version
    8..9 manifest.extension_type@416 out-of-range | manifest.extension_type@417 truncated | manifest.n_components@16 sum
    9..10 manifest.signed_len@496 truncated | manifest.signed_len@8 out-of-range
    10..12 manifest.signed_len@8 out-of-range
    12..16 manifest.critical_flags@12 unknown-critical
    16..17 manifest.n_components@16 out-of-range | manifest.n_components@16 sum
    17..18 manifest.reserved@17 reserved
    18..19 manifest.content_suite@18 unknown-value | manifest.payload_salt@112 must-be-zero
    19..20 manifest.hash_suite@19 unknown-value
    20..21 manifest.payload_len@104 sum | manifest.profile@20 unknown-value
    21..24 manifest.reserved@21 reserved
    24..56 signatures.signature@4 bad-signature
    56..57 manifest.hw_rev_max@58 out-of-range | signatures.signature@4 bad-signature
    57..58 manifest.hw_rev_max@58 out-of-range
    58..60 signatures.signature@4 bad-signature
    60..61 manifest.keyset_version@60 need-keyset | signatures.signature@4 bad-signature
    61..64 manifest.keyset_version@60 need-keyset
    64..104 signatures.signature@4 bad-signature
    104..112 manifest.payload_len@104 sum
    112..176 signatures.signature@4 bad-signature
    176..183 manifest.version@176 text | signatures.signature@4 bad-signature
    183..208 manifest.version@176 text
    208..256 manifest.reserved@208 reserved
    256..258 signatures.signature@4 bad-signature
    258..259 manifest.dest_addr@288 out-of-range | manifest.kind@258 unknown-value
    259..260 manifest.transform@259 unknown-value | manifest.transform@259 unsupported
    260..262 signatures.signature@4 bad-signature
    262..263 manifest.flags@262 reserved
    263..264 signatures.signature@4 bad-signature
    264..272 manifest.file_off@264 sum
    272..276 manifest.install_len@280 sum
    276..280 manifest.enc_len@272 out-of-range
    280..288 manifest.install_len@280 sum
    288..296 signatures.signature@4 bad-signature
    296..297 manifest.fe_scheme@296 out-of-range | manifest.fe_scheme@296 unknown-value
    297..304 manifest.transform_parameters@297 reserved
    304..320 manifest.flash_key_check@304 must-be-zero
    320..384 signatures.signature@4 bad-signature
    384..416 manifest.base_digest@384 must-be-zero";
const SIGNATURES: &str = "\
    0..1 signatures.algorithm@80 truncated | signatures.count@0 out-of-range
    1..4 signatures.reserved@1 reserved
    4..6 signatures.algorithm@4 unknown-value
    6..8 signatures.len@6 out-of-range
    8..16 signatures.count@0 too-few-signatures
    16..80 signatures.signature@4 bad-signature";
const KEYSET: &str = "\
    0..4 keyset.magic@0 magic
    4..5 keyset.major@4 version
    5..6 keyset.minor@5 version
    6..8 keyset.header_len@6 version
    8..9 keyset.n_keys@84 sum
    9..12 keyset.signed_len@8 out-of-range
    12..13 keyset.version@12 chain-gap | keyset.version@12 out-of-range
    13..16 keyset.version@12 chain-gap
    16..32 keyset.vendor_id@16 owner-changed
    32..48 keyset.class_id@32 owner-changed
    48..80 keyset.prev_digest@48 chain-broken
    80..82 keyset.max_security_version@80 security-version-fell | keyset.signature@320 bad-signature
    82..84 keyset.signature@320 bad-signature
    84..85 keyset.n_keys@84 out-of-range | keyset.n_keys@84 sum
    85..86 keyset.k_root@85 threshold | keyset.signature@320 bad-signature
    86..87 keyset.k_root_pq@86 threshold
    87..88 keyset.k_release@87 threshold
    88..89 keyset.k_release_pq@88 threshold
    89..96 keyset.reserved@89 reserved
    96..98 keyset.algorithm@96 unknown-value
    98..99 keyset.roles@98 wrong-role
    99..100 keyset.reserved@99 reserved
    100..108 keyset.key_id@100 key-mismatch
    108..140 keyset.key@108 bad-key | keyset.key_id@100 key-mismatch
    140..142 keyset.algorithm@140 unknown-value
    142..143 keyset.roles@142 wrong-role | keyset.signature@320 bad-signature
    143..144 keyset.reserved@143 reserved
    144..152 keyset.key_id@144 key-mismatch
    152..184 keyset.key@152 bad-key | keyset.key_id@144 key-mismatch
    184..186 keyset.algorithm@184 unknown-value
    186..187 keyset.roles@186 wrong-role | keyset.signature@320 bad-signature
    187..188 keyset.reserved@187 reserved
    188..196 keyset.key_id@188 key-mismatch
    196..228 keyset.key@196 bad-key | keyset.key_id@188 key-mismatch
    228..230 keyset.algorithm@228 unknown-value
    230..231 keyset.roles@230 wrong-role | keyset.signature@320 bad-signature
    231..232 keyset.reserved@231 reserved
    232..240 keyset.key_id@232 key-mismatch
    240..272 keyset.key@240 bad-key | keyset.key_id@232 key-mismatch
    272..274 keyset.algorithm@272 unknown-value
    274..275 keyset.roles@274 wrong-role | keyset.signature@320 bad-signature
    275..276 keyset.reserved@275 reserved
    276..284 keyset.key_id@276 key-mismatch
    284..316 keyset.key@284 bad-key | keyset.key_id@276 key-mismatch
    316..317 keyset.algorithm@472 truncated | keyset.count@316 out-of-range
    317..320 keyset.reserved@317 reserved
    320..322 keyset.algorithm@320 unknown-value
    322..324 keyset.len@322 out-of-range
    324..325 keyset.count@316 too-few-signatures | keyset.key_id@396 not-ascending
    325..332 keyset.count@316 too-few-signatures
    332..396 keyset.signature@320 bad-signature
    396..398 keyset.algorithm@396 unknown-value
    398..400 keyset.len@398 out-of-range
    400..401 keyset.count@316 too-few-signatures | keyset.key_id@396 not-ascending
    401..408 keyset.count@316 too-few-signatures
    408..472 keyset.signature@396 bad-signature";
const ENVELOPE: &str = "\
    0..4 envelope.magic@0 magic
    4..5 envelope.version@4 version
    5..6 envelope.len@6 out-of-range | envelope.recipient_id@8 not-a-recipient
    6..8 envelope.len@6 out-of-range
    8..24 envelope.recipient_id@8 not-a-recipient
    24..56 envelope.manifest_digest@24 other-release
    56..136 envelope.wrapped_key@56 unwrap-failed";
