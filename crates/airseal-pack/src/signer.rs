//! Making signatures: with a key file, or with a program that talks to an HSM or a key service.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use airseal_format::signature::{Entry, SigningPublicKey};
use airseal_format::{KeyId, Reason};
use ed25519_dalek::Signer as _;

use crate::Error;
use crate::key::{KeyFile, KeyRole, Loaded, NoPassphrase, PassphraseSource, PrivateKey, PublicKey};

/// Something that signs.
pub trait Signer {
    /// The public key its signatures verify under.
    fn public_key(&self) -> &SigningPublicKey;

    /// Signs `message`: 64 bytes, Ed25519 or raw r || s in low-S form.
    ///
    /// # Errors
    /// Whatever keeps it from signing.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error>;

    /// The name for messages.
    fn name(&self) -> &str;
}

/// Opens the signer that `--sign` names: a private key file, or `command:PROGRAM`.
///
/// # Errors
/// As [`KeyFile::read`] for a file, as [`CommandSigner::new`] for a program; refused for a public key.
pub fn open_signer(
    spec: &str,
    passphrase: &dyn PassphraseSource,
) -> Result<Loaded<Box<dyn Signer>>, Error> {
    if let Some(program) = spec.strip_prefix("command:") {
        let signer = CommandSigner::new(program)?;
        return Ok(Loaded {
            key: Box::new(signer),
            warnings: Vec::new(),
        });
    }
    let loaded = KeyFile::read(Path::new(spec), Some(KeyRole::Signing), passphrase)?;
    let KeyFile::Private(key) = loaded.key else {
        return Err(Error::refused(
            spec,
            "is a public key and can't sign",
            "name the private key file",
        ));
    };
    let signer = KeySigner::new(spec, key)?;
    Ok(Loaded {
        key: Box::new(signer),
        warnings: loaded.warnings,
    })
}

/// Signs with a private key in memory.
pub struct KeySigner {
    name: String,
    key: PrivateKey,
    public: SigningPublicKey,
}

impl KeySigner {
    /// Takes a signing key; `name` is for messages.
    ///
    /// # Errors
    /// Refused for a key of another kind.
    pub fn new(name: &str, key: PrivateKey) -> Result<KeySigner, Error> {
        match key.public() {
            Some(PublicKey::Signing(public)) => Ok(KeySigner {
                name: name.to_owned(),
                key,
                public,
            }),
            _ => Err(Error::refused(
                name,
                format!("a key of kind {} can't sign", key.kind()),
                "",
            )),
        }
    }
}

impl Signer for KeySigner {
    fn public_key(&self) -> &SigningPublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        match &self.key {
            PrivateKey::Signing(seed) => Ok(ed25519_dalek::SigningKey::from_bytes(seed)
                .sign(message)
                .to_bytes()),
            PrivateKey::SigningP256(secret) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(secret).sign(message);
                Ok(signature.normalize_s().to_bytes().into())
            }
            _ => Err(Error::refused(self.name(), "this key can't sign", "")),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Signs by running a program.
///
/// The program is started through the shell with `AIRSEAL_SIGN=public` in its environment and prints its public key as
/// PEM; with `AIRSEAL_SIGN=sign` it gets the bytes to sign on standard input and prints the signature and nothing else:
/// 64 raw bytes, or DER for ECDSA.
pub struct CommandSigner {
    name: String,
    program: String,
    public: SigningPublicKey,
}

impl CommandSigner {
    /// Asks `program` for its public key.
    ///
    /// # Errors
    /// `Io` if it can't be started; refused if it fails or prints no signing key.
    pub fn new(program: &str) -> Result<CommandSigner, Error> {
        let name = format!("command:{program}");
        if program.trim().is_empty() {
            return Err(Error::usage(
                "command: names no program",
                "write --sign 'command:PROGRAM ARGUMENTS'",
            ));
        }
        let pem = run(&name, program, "public", &[])?;
        let key = KeyFile::parse(&name, &pem, Some(KeyRole::Signing), &NoPassphrase);
        let key = key.map_err(|error| match error {
            Error::Refused {
                subject, message, ..
            } => Error::refused(
                subject,
                format!("with AIRSEAL_SIGN=public its output {message}"),
                "the program prints its public key as SubjectPublicKeyInfo PEM then, and signs only with AIRSEAL_SIGN=sign",
            ),
            other => other,
        })?;
        match key {
            KeyFile::Public(PublicKey::Signing(public)) => Ok(CommandSigner {
                name,
                program: program.to_owned(),
                public,
            }),
            _ => Err(Error::refused(
                name,
                "with AIRSEAL_SIGN=public the program did not print a public signing key",
                "print SubjectPublicKeyInfo PEM",
            )),
        }
    }
}

impl Signer for CommandSigner {
    fn public_key(&self) -> &SigningPublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let output = run(&self.name, &self.program, "sign", message)?;
        parse_signature(&self.name, &self.public, &output)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Reads a signature made elsewhere: 64 raw bytes, or DER for ECDSA. ECDSA comes back in low-S form.
///
/// # Errors
/// Refused if it is neither.
pub fn parse_signature(
    name: &str,
    key: &SigningPublicKey,
    bytes: &[u8],
) -> Result<[u8; 64], Error> {
    match key {
        SigningPublicKey::Ed25519(_) => bytes.try_into().map_err(|_| {
            Error::refused(
                name,
                format!(
                    "an Ed25519 signature has 64 bytes, this has {}",
                    bytes.len()
                ),
                "give the raw signature",
            )
        }),
        SigningPublicKey::EcdsaP256(_) => {
            let signature = if bytes.len() == 64 {
                p256::ecdsa::Signature::from_slice(bytes)
            } else {
                p256::ecdsa::Signature::from_der(bytes)
            };
            let signature = signature.map_err(|_| {
                Error::refused(
                    name,
                    format!(
                        "neither a raw (64 bytes) nor a DER ECDSA signature on P-256 ({} bytes)",
                        bytes.len()
                    ),
                    "give r || s or the DER form",
                )
            })?;
            Ok(signature.normalize_s().to_bytes().into())
        }
    }
}

/// One entry of a signature block, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedEntry {
    pub(crate) algorithm: airseal_format::Algorithm,
    pub(crate) key_id: KeyId,
    pub(crate) value: Vec<u8>,
}

impl OwnedEntry {
    /// Signs `context || signed` and verifies the result before it is used.
    pub(crate) fn make(
        signer: &dyn Signer,
        context: &[u8],
        signed: &[u8],
    ) -> Result<OwnedEntry, Error> {
        let message = [context, signed].concat();
        let signature = signer.sign(&message)?;
        Self::from_signature(signer.name(), signer.public_key(), &message, signature)
    }

    /// Takes a signature made elsewhere, if it verifies.
    pub(crate) fn from_signature(
        name: &str,
        key: &SigningPublicKey,
        message: &[u8],
        signature: [u8; 64],
    ) -> Result<OwnedEntry, Error> {
        key.verify(&[message], &signature).map_err(|reason| {
            let remedy = match reason {
                Reason::BadSignature => "sign exactly the bytes of the request, with the key whose public half was given",
                _ => "",
            };
            Error::refused(name, format!("the signature does not verify: {}", reason.message()), remedy)
        })?;
        let value = match key {
            SigningPublicKey::Ed25519(_) => signature.to_vec(),
            SigningPublicKey::EcdsaP256(public) => [&public[..], &signature[..]].concat(),
        };
        Ok(OwnedEntry {
            algorithm: key.algorithm(),
            key_id: key.key_id(),
            value,
        })
    }

    /// Copies an entry out of a block.
    pub(crate) fn copy(entry: &Entry<'_>) -> OwnedEntry {
        OwnedEntry {
            algorithm: entry.algorithm,
            key_id: entry.key_id,
            value: entry.value.to_vec(),
        }
    }
}

/// Writes a signature block; entries are sorted, and a second signature of one key replaces the first.
pub(crate) fn encode_block(subject: &str, mut entries: Vec<OwnedEntry>) -> Result<Vec<u8>, Error> {
    use airseal_format::signature::{MAX_BLOCK_LEN, encode};
    entries.reverse();
    entries.sort_by_key(|entry| entry.key_id);
    entries.dedup_by_key(|entry| entry.key_id);
    let entries: Vec<Entry<'_>> = entries
        .iter()
        .map(|entry| Entry::new(entry.algorithm, entry.key_id, &entry.value))
        .collect();
    let mut block = vec![0; MAX_BLOCK_LEN];
    let len = encode(&entries, &mut block).map_err(|error| Error::format(subject, 0, error))?;
    block.truncate(len);
    Ok(block)
}

pub(crate) fn run(name: &str, program: &str, what: &str, input: &[u8]) -> Result<Vec<u8>, Error> {
    let io = |error| Error::Io {
        action: format!("can't run {name}"),
        source: error,
    };
    let mut shell = if cfg!(windows) {
        Command::new("cmd")
    } else {
        Command::new("sh")
    };
    let mut child = shell
        .arg(if cfg!(windows) { "/C" } else { "-c" })
        .arg(program)
        .env("AIRSEAL_SIGN", what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that needs no input may close its end early; its exit status and output decide.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(io)?;
    if !output.status.success() {
        return Err(Error::refused(
            name,
            format!(
                "the program failed with {} (AIRSEAL_SIGN={what})",
                output.status
            ),
            "run it by hand with the same environment",
        ));
    }
    Ok(output.stdout)
}
