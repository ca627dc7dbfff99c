//! A call of `espefuse` that burns, taken apart again: a chip burns piece by piece, and may be stopped between two.

use std::ffi::OsString;
use std::path::Path;

use airseal_esp::Chip;

const COMMANDS: [&str; 3] = ["burn-key", "burn-efuse", "write-protect-efuse"];

/// The words before the first command, and the pieces after it.
pub(super) struct Burning {
    head: Vec<OsString>,
    pieces: Vec<Piece>,
}

/// Burned whole or not at all.
struct Piece {
    command: usize,
    words: Vec<OsString>,
}

impl Burning {
    /// `None` for a call that only reads.
    pub(super) fn parse(chip: Chip, call: &[OsString]) -> Option<Burning> {
        let command = |word: &OsString| COMMANDS.iter().position(|command| word == command);
        let start = call.iter().position(|word| command(word).is_some())?;
        let (head, rest) = call.split_at_checked(start)?;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 0;
        for word in rest {
            if let Some(found) = command(word) {
                at = found;
                pieces.push(Piece {
                    command: at,
                    words: Vec::new(),
                });
                continue;
            }
            let full = match (at, chip.name()) {
                (0, "esp32") | (1, _) => 2,
                // The only key block of this chip takes both keys at once.
                (0, "esp32c2") | (2, _) => usize::MAX,
                _ => 3,
            };
            match pieces.last_mut() {
                Some(piece) if piece.words.len() < full => piece.words.push(word.clone()),
                _ => pieces.push(Piece {
                    command: at,
                    words: vec![word.clone()],
                }),
            }
        }
        Some(Burning {
            head: head.to_vec(),
            pieces,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What is burned when the call is stopped after `count` pieces.
    pub(super) fn first(mut self, count: usize) -> Burning {
        self.pieces.truncate(count);
        self
    }

    /// The call again.
    pub(super) fn words(&self) -> Vec<OsString> {
        let mut words = self.head.clone();
        let mut before = None;
        for piece in &self.pieces {
            if before != Some(piece.command) {
                words.extend(COMMANDS.get(piece.command).map(OsString::from));
                before = Some(piece.command);
            }
            words.extend(piece.words.iter().cloned());
        }
        words
    }

    /// Names that `burn-efuse` sets.
    pub(super) fn fields(&self) -> impl Iterator<Item = String> {
        let fields = self.pieces.iter().filter(|piece| piece.command == 1);
        fields
            .filter_map(|piece| piece.words.first())
            .map(|name| name.to_string_lossy().into_owned())
    }

    /// Keys that no tool reads afterwards: the file a board keeps it in, and the file it is in now.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let keys = self.pieces.iter().filter(|piece| piece.command == 0);
        keys.flat_map(|piece| {
            piece
                .words
                .windows(3)
                .chain((piece.words.len() == 2).then_some(&*piece.words))
        })
        .filter_map(|key| {
            let (name, file) = (key.first()?.to_string_lossy(), key.get(1)?);
            let purpose = key
                .get(2)
                .map(|word| word.to_string_lossy())
                .unwrap_or_default();
            let kept = match (&*name, &*purpose) {
                ("flash_encryption", _) => "flash-key",
                (_, "HMAC_UP") => "seed",
                (_, purpose) if purpose.starts_with("XTS_") => "flash-key",
                _ => return None,
            };
            Some((kept, Path::new(file)))
        })
    }
}
