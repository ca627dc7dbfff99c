//! The tree for file servers: what lies in it, what it can be read back as, and what pruning removes.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use std::path::Path;

use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::export::{
    ExportRecipient, ExportRequest, Exported, MAX_PATH, export_static, read_static,
};
use airseal_pack::key::{KeyKind, PrivateKey};
use airseal_pack::open::{OpenKey, open};
use airseal_pack::output::Existing;
use airseal_pack::{BundleFile, Error};
use common::{World, noise, recipients};

fn export(
    bundle: &BundleFile,
    world: &World,
    who: &[ExportRecipient],
    prune: bool,
    capabilities: &Path,
) -> Result<Exported, Error> {
    let request = ExportRequest {
        dir: &world.path("tree"),
        capabilities,
        recipients: who,
        prune,
    };
    export_static(bundle, &request, &SystemEntropy, &Control::default())
}

fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn capabilities(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (
                fields[1].to_owned(),
                fields[2].split('/').nth(1).unwrap().to_owned(),
            )
        })
        .collect()
}

#[test]
fn a_tree_is_written_read_back_updated_and_pruned() {
    let world = World::new();
    let second = PrivateKey::generate(KeyKind::Device).unwrap();
    let late = PrivateKey::generate(KeyKind::Device).unwrap();
    let both: &'static _ = Box::leak(Box::new(recipients(&[&world.device, &second])));
    let who: Vec<ExportRecipient> = [("A1", &world.device), ("B2", &second), ("C3", &late)]
        .map(|(name, key)| {
            let id = *recipients(&[key]).iter().next().unwrap().0;
            ExportRecipient {
                id,
                name: name.to_owned(),
            }
        })
        .into();
    let list = world.path("capabilities.csv");
    let first = noise(10_000);
    let bundle = world.bundle(&first, |request| request.recipients = both);
    let exported = export(&bundle, &world, &who, false, &list).unwrap();
    assert_eq!(
        (exported.written.as_slice(), exported.no_envelope.as_slice()),
        (
            &["A1".to_owned(), "B2".to_owned()][..],
            &["C3".to_owned()][..]
        )
    );
    let tree = world.path("tree");
    let before = files(&tree);
    assert_eq!(before.len(), 3);
    assert!(
        before.iter().all(|path| path.len() < MAX_PATH),
        "{before:?}"
    );

    let rows = capabilities(&list);
    assert_eq!(rows.len(), 2);
    for (name, capability) in &rows {
        let key = if name == "A1" { &world.device } else { &second };
        let back = read_static(&tree, capability).unwrap();
        let out = world.path("opened.bin");
        let open_key = OpenKey::new(name, key).unwrap();
        open(
            &back,
            &world.trust(),
            Some(&open_key),
            None,
            (&out, Existing::Replace),
            &Control::default(),
        )
        .unwrap();
        assert!(std::fs::read(&out).unwrap() == first);
        // The other's envelope is not in it.
        let other = if name == "A1" { &second } else { &world.device };
        let other = OpenKey::new("other", other).unwrap();
        let error = open(
            &back,
            &world.trust(),
            Some(&other),
            None,
            (&out, Existing::Replace),
            &Control::default(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("no envelope"), "{error}");
    }

    // The next release: the same paths, the old payload still there for those in the middle of it.
    let next = world.bundle(&noise(12_000), |request| request.recipients = both);
    export(&next, &world, &who[..2], false, &list).unwrap();
    assert_eq!(capabilities(&list), rows);
    assert_eq!(files(&tree).len(), 4);

    // Only one device is left: its path stays, the other's and the old payload go.
    let pruned = export(&next, &world, &who[..1], true, &list).unwrap();
    assert_eq!((pruned.pruned_paths, pruned.pruned_payloads), (1, 1));
    let left = capabilities(&list);
    assert_eq!(left.len(), 1);
    assert_eq!(files(&tree).len(), 2);
    let gone = rows.iter().find(|(name, _)| name == "B2").unwrap();
    let error = read_static(&tree, &gone.1).err().unwrap().to_string();
    assert!(
        error.contains("<capability>") && !error.contains(&gone.1),
        "{error}"
    );
}

#[test]
fn the_list_of_capabilities_is_secret_and_outside_the_tree() {
    let world = World::new();
    let bundle = world.bundle(&noise(100), |_| {});
    let id = *recipients(&[&world.device]).iter().next().unwrap().0;
    let who = [ExportRecipient {
        id,
        name: "A1".to_owned(),
    }];
    let error = export(
        &bundle,
        &world,
        &who,
        false,
        &world.path("tree/capabilities.csv"),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("inside the exported directory"),
        "{error}"
    );
    let list = world.path("capabilities.csv");
    let exported = export(&bundle, &world, &who, false, &list).unwrap();
    let capability = &capabilities(&list)[0].1;
    assert!(
        !serde_json::to_string(&exported)
            .unwrap()
            .contains(capability)
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&list).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
