//! The frozen files of `vectors/v1` that a host meets: bundles and key files, as the host reads them.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::{Path, PathBuf};

use airseal_pack::control::Control;
use airseal_pack::key::{KeyFile, KeyRole, NoPassphrase};
use airseal_pack::keyset::KeysetFile;
use airseal_pack::open::{NamedTrust, OpenKey, open, verify};
use airseal_pack::output::Existing;
use airseal_pack::{BundleFile, Error, ErrorKind};
use serde_json::Value;
use sha2::Digest as _;

struct Vectors {
    root: PathBuf,
    index: Value,
    dir: tempfile::TempDir,
}

impl Vectors {
    fn read() -> Vectors {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/v1");
        let index =
            serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
        Vectors {
            root,
            index,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn cases(&self, kind: &str) -> Vec<&Value> {
        self.index["cases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|case| case["kind"] == kind)
            .collect()
    }

    fn path(&self, name: &Value) -> PathBuf {
        self.root.join(name.as_str().unwrap())
    }

    fn key_path(&self, name: &Value, which: &str) -> PathBuf {
        self.path(&self.index["keys"][name.as_str().unwrap()][which])
    }

    fn bundle(&self, case: &Value) -> Result<(), Error> {
        let bundle = BundleFile::open(&self.path(&case["file"]))?;
        let trust = match case["keyset"].is_string() {
            true => NamedTrust::Keyset(KeysetFile::read(&self.path(&case["keyset"]))?),
            false => {
                let names = case["trust"].as_array().unwrap();
                let paths: Vec<PathBuf> = names
                    .iter()
                    .map(|name| self.key_path(name, "public_file"))
                    .collect();
                NamedTrust::read_keys(&paths, &NoPassphrase)?.key
            }
        };
        let verified = verify(&bundle, &trust, &Control::default());
        if case["operation"] != "open" {
            let verified = verified?;
            assert_eq!(
                case["manifest_digest"], verified.manifest_digest,
                "{}",
                case["name"]
            );
            return Ok(());
        }
        let key = case["key"].is_string().then(|| {
            OpenKey::read(&self.key_path(&case["key"], "private_file"), &NoPassphrase)
                .unwrap()
                .key
        });
        for component in bundle.manifest().components() {
            let out = self.dir.path().join("opened.bin");
            open(
                &bundle,
                &trust,
                key.as_ref(),
                Some(component.id),
                (&out, Existing::Replace),
                &Control::default(),
            )?;
            if case["expect"] == "ok" {
                let expected = case["components"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|c| c["id"] == component.id.0)
                    .unwrap();
                assert_eq!(
                    expected["sha256"],
                    hex::encode(sha2::Sha256::digest(std::fs::read(&out).unwrap())),
                    "{}",
                    case["name"]
                );
            }
        }
        verified.map(|_| ())
    }

    fn keyfile(&self, case: &Value) -> Result<(), Error> {
        let role = if case["operation"] == "signing" {
            KeyRole::Signing
        } else {
            KeyRole::Recipient
        };
        let key = KeyFile::read(&self.path(&case["file"]), Some(role), &NoPassphrase)?.key;
        if case["expect"] == "ok" {
            assert_eq!(case["key_kind"], key.kind().name(), "{}", case["name"]);
            let public = key.public().map(|key| hex::encode(key.as_bytes()));
            assert_eq!(
                case["public"].as_str(),
                public.as_deref(),
                "{}",
                case["name"]
            );
        }
        Ok(())
    }
}

fn run(vectors: &Vectors, kind: &str, operation: impl Fn(&Value) -> Result<(), Error>) -> usize {
    let cases = vectors.cases(kind);
    let mut wrong = Vec::new();
    for case in &cases {
        let outcome = operation(case);
        let is_right = match (&outcome, case["expect"].as_str().unwrap()) {
            (Ok(()), "ok") => true,
            (Err(Error::Format { source, .. }), "refused") => {
                source.part.word() == case["part"]
                    || (case["part"] == "key" && source.field == "public_key")
            }
            (Err(error), "refused") => {
                error.kind() == ErrorKind::Refused || error.kind() == ErrorKind::Usage
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!(
                "{}: {} {} {}, got {outcome:?}",
                case["name"], case["expect"], case["part"], case["field"]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    cases.len()
}

#[test]
fn bundles_have_their_expected_outcome() {
    let vectors = Vectors::read();
    let ran = run(&vectors, "bundle", |case| vectors.bundle(case));
    assert!(ran > 300, "only {ran} cases");
}

#[test]
fn key_files_have_their_expected_outcome() {
    let vectors = Vectors::read();
    let ran = run(&vectors, "keyfile", |case| vectors.keyfile(case));
    assert!(ran > 20, "only {ran} cases");
}
