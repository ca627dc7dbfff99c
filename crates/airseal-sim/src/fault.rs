//! Networks and cables that misbehave, as a wrapper of any byte stream.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::random::Noise;

/// Where in a stream a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// After so many bytes were read.
    Byte(u64),
    /// After this share of the whole, 0 to 100.
    Percent(f64),
}

/// One fault. Each strikes once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// The connection ends.
    Cut,
    /// Nothing comes for a while.
    Stall(Duration),
    /// From here on a read brings one byte.
    ShortReads,
    /// The next bytes, this many, are noise.
    Garbage(u32),
    /// The bytes before, this many, come once more.
    Duplicate(u32),
}

/// Why a line is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSyntax(String);

impl fmt::Display for FaultSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no fault; write cut@63%, stall@1000:5s, short@0, garbage@5000:16 or duplicate@5000:16",
            self.0
        )
    }
}

impl std::error::Error for FaultSyntax {}

impl FromStr for Fault {
    type Err = FaultSyntax;

    /// Reads `WHAT@WHERE[:HOW MUCH]`.
    fn from_str(text: &str) -> Result<Self, FaultSyntax> {
        let wrong = || FaultSyntax(text.to_owned());
        let (what, rest) = text.split_once('@').ok_or_else(wrong)?;
        let (place, amount) = match rest.split_once(':') {
            Some((place, amount)) => (place, Some(amount)),
            None => (rest, None),
        };
        let place = match place.strip_suffix('%') {
            Some(percent) => Place::Percent(percent.parse().map_err(|_| wrong())?),
            None => Place::Byte(place.parse().map_err(|_| wrong())?),
        };
        if let Place::Percent(percent) = place
            && !(0.0..=100.0).contains(&percent)
        {
            return Err(wrong());
        }
        let count = || amount.map_or(Ok(1), |amount| amount.parse().map_err(|_| wrong()));
        let kind = match (what, amount) {
            ("cut", None) => FaultKind::Cut,
            ("short", None) => FaultKind::ShortReads,
            ("stall", amount) => FaultKind::Stall(match amount {
                Some(amount) => seconds(amount).ok_or_else(wrong)?,
                None => Duration::from_secs(1),
            }),
            ("garbage", _) => FaultKind::Garbage(count()?),
            ("duplicate", _) => FaultKind::Duplicate(count()?),
            _ => return Err(wrong()),
        };
        Ok(Fault { place, kind })
    }
}

/// The faults of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan(pub Vec<Fault>);

impl FaultPlan {
    /// Reads a faults file: one fault a line, either a word such as `cut@63%` or a JSON
    /// object such as `{"cut":"63%"}` or `{"stall":1000,"for":"5s"}`. Empty lines and lines
    /// that start with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is no fault.
    pub fn parse(text: &str) -> Result<Self, FaultSyntax> {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| match line.starts_with('{') {
                true => from_json(line),
                false => line.parse(),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonFault {
    cut: Option<JsonPlace>,
    stall: Option<JsonPlace>,
    short: Option<JsonPlace>,
    garbage: Option<JsonPlace>,
    duplicate: Option<JsonPlace>,
    #[serde(rename = "for")]
    amount: Option<JsonPlace>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonPlace {
    Number(u64),
    Text(String),
}

impl fmt::Display for JsonPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonPlace::Number(number) => write!(f, "{number}"),
            JsonPlace::Text(text) => f.write_str(text),
        }
    }
}

fn from_json(line: &str) -> Result<Fault, FaultSyntax> {
    let wrong = || FaultSyntax(line.to_owned());
    let fault: JsonFault = serde_json::from_str(line).map_err(|_| wrong())?;
    let kinds = [
        ("cut", fault.cut),
        ("stall", fault.stall),
        ("short", fault.short),
        ("garbage", fault.garbage),
        ("duplicate", fault.duplicate),
    ];
    let mut named = kinds
        .into_iter()
        .filter_map(|(what, place)| Some((what, place?)));
    let (Some((what, place)), None) = (named.next(), named.next()) else {
        return Err(wrong());
    };
    let amount = fault
        .amount
        .map_or(String::new(), |amount| format!(":{amount}"));
    format!("{what}@{place}{amount}")
        .parse()
        .map_err(|_| wrong())
}

fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (
            text.strip_suffix('s').unwrap_or(text),
            Duration::from_secs(1),
        ),
    };
    unit.checked_mul(number.parse().ok()?)
}

/// A byte stream with the faults of a plan in it.
///
/// Offsets count the bytes read from this stream over all connections, so that a plan goes
/// on after a reconnect.
#[derive(Debug)]
pub struct FaultTransport {
    faults: Vec<(u64, FaultKind)>,
    at: u64,
    is_short: bool,
    garbage: u32,
    recent: Vec<u8>,
    again: Vec<u8>,
    is_cut: bool,
    noise: Noise,
}

impl FaultTransport {
    /// The faults of `plan` in streams of `total` bytes altogether.
    #[must_use]
    pub fn new(plan: &FaultPlan, total: u64) -> Self {
        let mut faults: Vec<_> = plan
            .0
            .iter()
            .map(|fault| {
                let at = match fault.place {
                    Place::Byte(at) => at,
                    Place::Percent(percent) => (total as f64 * percent / 100.0) as u64,
                };
                (at, fault.kind)
            })
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        Self {
            faults,
            at: 0,
            is_short: false,
            garbage: 0,
            recent: Vec::new(),
            again: Vec::new(),
            is_cut: false,
            noise: Noise::new(total),
        }
    }

    /// Faults that did not strike yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.faults.len()
    }

    /// A new connection.
    pub fn reconnect(&mut self) {
        self.is_cut = false;
        self.again.clear();
        self.recent.clear();
    }

    /// Reads from `stream` with the faults in between.
    ///
    /// # Errors
    /// The stream's, and `ConnectionReset` for a cut.
    pub fn read(&mut self, stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(&(at, kind)) = self.faults.first()
            && at <= self.at
        {
            self.faults.remove(0);
            match kind {
                FaultKind::Cut => self.is_cut = true,
                FaultKind::Stall(time) => std::thread::sleep(time),
                FaultKind::ShortReads => self.is_short = true,
                FaultKind::Garbage(count) => self.garbage = count,
                FaultKind::Duplicate(count) => {
                    let from = self.recent.len().saturating_sub(count as usize);
                    self.again = self.recent.split_off(from);
                }
            }
        }
        if self.is_cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let next = self.faults.first().map_or(u64::MAX, |(at, _)| at - self.at);
        let limit = if self.is_short { 1 } else { buffer.len() };
        let limit = limit.min(usize::try_from(next).unwrap_or(usize::MAX).max(1));
        let limit = limit.min(buffer.len());
        let buffer = &mut buffer[..limit];
        let read = if self.again.is_empty() {
            stream.read(buffer)?
        } else {
            let count = self.again.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.again[..count]);
            self.again.drain(..count);
            count
        };
        let read_bytes = &mut buffer[..read];
        let spoiled = read.min(self.garbage as usize);
        for byte in &mut read_bytes[..spoiled] {
            *byte ^= (self.noise.bits() as u8).max(1);
        }
        self.garbage -= spoiled as u32;
        self.at += read as u64;
        self.recent.extend_from_slice(read_bytes);
        let excess = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..excess);
        Ok(read)
    }
}

/// How many bytes a duplicate can bring again.
const RECENT: usize = 64 * 1024;

/// What a percentage is a share of when nobody knows the length: 1 MiB.
pub const UNKNOWN_LEN: u64 = 1 << 20;

/// A stream and its faults, if it has any, as one reader.
pub struct Faulty<'f, S> {
    /// The stream.
    pub stream: S,
    /// Its faults.
    pub faults: Option<&'f mut FaultTransport>,
}

impl<S: Read> Read for Faulty<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.faults {
            Some(faults) => faults.read(&mut self.stream, buffer),
            None => self.stream.read(buffer),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn words_and_json_mean_the_same() {
        let words = "cut@63%\n\n# later\nstall@1000:5s\nshort@0\ngarbage@7:16\nduplicate@9";
        let json = r#"{"cut":"63%"}
            {"stall":1000,"for":"5s"}
            {"short":0}
            {"garbage":7,"for":16}
            {"duplicate":9}"#;
        assert_eq!(
            FaultPlan::parse(words).unwrap(),
            FaultPlan::parse(json).unwrap()
        );
        assert_eq!(fault("cut@63%").place, Place::Percent(63.0));
    }

    #[test]
    fn nonsense_is_named() {
        for text in [
            "cut",
            "cut@",
            "cut@x",
            "cut@101%",
            "melt@5",
            "{\"cut\":1,\"stall\":2}",
        ] {
            let error = FaultPlan::parse(text).unwrap_err();
            assert!(error.to_string().contains("is no fault"), "{error}");
        }
    }

    #[test]
    fn every_fault_strikes_once_where_it_should() {
        let data: Vec<u8> = (0..100).collect();
        let plan = FaultPlan(vec![
            fault("garbage@10:2"),
            fault("duplicate@20:5"),
            fault("cut@50%"),
        ]);
        let mut faults = FaultTransport::new(&plan, 100);
        let mut out = Vec::new();
        let mut source = &data[..];
        let error = loop {
            let mut buffer = [0; 7];
            match faults.read(&mut source, &mut buffer) {
                Ok(0) => panic!("the cut did not come"),
                Ok(read) => out.extend_from_slice(&buffer[..read]),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(out.len(), 50);
        assert_eq!(out[..10], data[..10]);
        assert!(out[10] != 10 && out[11] != 11 && out[12] == 12);
        assert_eq!(out[20..25], data[15..20]);
        assert_eq!(out[25..], data[20..45]);
        faults.reconnect();
        assert!(faults.read(&mut source, &mut [0; 7]).is_ok());
    }
}
