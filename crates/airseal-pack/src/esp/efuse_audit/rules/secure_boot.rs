//! Secure boot: digests of keys that count, the other slots revoked.

use airseal_esp::Chip;

use super::Rules;
use crate::esp::efuse_audit::{Repair, Verdict};

impl Rules<'_> {
    /// Digests, revoked slots, and the field that switches secure boot on.
    pub(super) fn secure_boot(&mut self, chip: Chip) {
        match chip.name() {
            "esp32" => {
                let old = self
                    .state
                    .field("ABS_DONE_0")
                    .is_some_and(|field| field.used);
                let enable = if old { "ABS_DONE_0" } else { "ABS_DONE_1" };
                self.key_block("BLOCK2", !old);
                return self.equals(enable, 1, Repair::Now);
            }
            "esp32c2" => {
                self.key_block("BLOCK_KEY0_HI_128", true);
                return self.equals("SECURE_BOOT_EN", 1, Repair::Now);
            }
            _ => {}
        }
        let slots: Vec<_> = (0..chip.key_digests())
            .map(|slot| {
                let revoke = format!("SECURE_BOOT_KEY_REVOKE{slot}");
                let revoked = self.state.field(&revoke).is_some_and(|field| field.used);
                let blocks = self.state.blocks_for(&format!("SECURE_BOOT_DIGEST{slot}"));
                (revoke, revoked, blocks)
            })
            .collect();
        let trusted = |(_, revoked, blocks): &(_, bool, Vec<_>)| !revoked && !blocks.is_empty();
        if !slots.iter().any(trusted) {
            return self.no_digest(&slots.iter().map(|slot| slot.1).collect::<Vec<_>>());
        }
        for (revoke, revoked, blocks) in slots {
            if revoked || blocks.is_empty() {
                self.equals(&revoke, 1, Repair::Now);
                continue;
            }
            for block in blocks {
                self.key_block(&format!("BLOCK_KEY{block}"), true);
            }
        }
        self.equals("SECURE_BOOT_EN", 1, Repair::Now);
    }

    /// No digest counts: one slot is kept for it, and what would shut the chip without it has to wait.
    fn no_digest(&mut self, revoked: &[bool]) {
        const WANT: &str = "a digest that is not revoked";
        let kept = revoked.iter().position(|revoked| !revoked);
        let (slot, repair, message) = match kept {
            Some(slot) => (
                slot,
                self.by_cable(Repair::Now),
                "burn the digest of a signing key into a free block",
            ),
            None => (
                0,
                Repair::Never,
                "every slot is revoked: no digest counts any more",
            ),
        };
        self.verdicts.push(Verdict {
            repair: Some(repair),
            message: message.to_owned(),
            ..Verdict::missing(&format!("SECURE_BOOT_DIGEST{slot}"), WANT)
        });
        let others = (0..revoked.len()).filter(|slot| Some(*slot) != kept);
        for name in others.map(|slot| format!("SECURE_BOOT_KEY_REVOKE{slot}")) {
            self.equals_after(
                &name,
                1,
                "burn it after the digests: a revoked slot takes none",
            );
        }
        self.equals_after(
            "SECURE_BOOT_EN",
            1,
            "burn it after the digest: without one nothing boots",
        );
    }
}
