//! HTTP/1.1 for devices: requests written into, and response heads read from, a caller's
//! buffer (RFC 9110, RFC 9112). No I/O: the caller moves bytes over TLS or TCP.
//!
//! What a device does not need is refused by name instead of half supported: chunked
//! bodies, redirects, heads longer than the buffer.

use core::fmt::{self, Write as _};

/// Longest response head that is accepted, bytes.
pub const MAX_HEAD: usize = 2048;

/// A request. The body, if any, follows the bytes of [`Request::write`].
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// GET, HEAD or POST.
    pub method: Method,
    /// Path and query, starting with `/`.
    pub path: &'a str,
    /// Name and port of the server.
    pub host: &'a str,
    /// Length and media type of the body that follows.
    pub body: Option<(usize, &'a str)>,
    /// First and last byte wanted, both inclusive.
    pub range: Option<(u64, u64)>,
    /// Entity tag under which the range is wanted, quotes included.
    pub if_range: Option<&'a str>,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Fetch.
    Get,
    /// Fetch the head only.
    Head,
    /// Send a body.
    Post,
}

impl Request<'_> {
    /// Writes the request's head into `out` and returns its length.
    ///
    /// # Errors
    /// [`HttpError::TooLong`] when it does not fit, [`HttpError::Malformed`] when a value
    /// holds a control character or a space.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, HttpError> {
        let is_clean = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        for (field, text) in [("path", self.path), ("host", self.host)] {
            if !is_clean(text) {
                return Err(HttpError::Malformed(field));
            }
        }
        if !is_clean(self.if_range.unwrap_or_default()) {
            return Err(HttpError::Malformed("if-range"));
        }
        let mut w = Cursor { out, at: 0 };
        self.write_to(&mut w).map_err(|_| HttpError::TooLong)?;
        Ok(w.at)
    }

    fn write_to(&self, w: &mut Cursor<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
        };
        write!(
            w,
            "{method} {} HTTP/1.1\r\nHost: {}\r\n",
            self.path, self.host
        )?;
        if let Some((first, last)) = self.range {
            write!(w, "Range: bytes={first}-{last}\r\n")?;
        }
        if let Some(tag) = self.if_range {
            write!(w, "If-Range: {tag}\r\n")?;
        }
        if let Some((len, media_type)) = self.body {
            write!(w, "Content-Type: {media_type}\r\nContent-Length: {len}\r\n")?;
        }
        w.write_str("\r\n")
    }
}

/// A response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// 100 to 599.
    pub status: u16,
    /// Bytes of body that follow.
    pub content_length: Option<u64>,
    /// Which part of the whole they are.
    pub content_range: Option<ContentRange>,
    /// Entity tag, quotes included.
    pub etag: Option<&'a str>,
    /// Media type of the body.
    pub content_type: Option<&'a str>,
    /// Seconds to wait before asking again.
    pub retry_after: Option<u32>,
    /// True when the server closes the connection after this answer.
    pub closes: bool,
}

/// A `Content-Range` of a 206 answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, inclusive.
    pub last: u64,
    /// Length of the whole.
    pub total: u64,
}

impl<'a> Head<'a> {
    /// Reads the head at the front of `bytes` and returns it with its length; `None` while
    /// it is not complete.
    ///
    /// # Errors
    /// [`HttpError::TooLong`] past [`MAX_HEAD`], and what is malformed or not supported.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let seen = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else {
            let could_be = seen.iter().zip(b"HTTP/1.").all(|(a, b)| a == b);
            return match (could_be, seen.len() < MAX_HEAD) {
                (false, _) => Err(HttpError::NotHttp),
                (true, true) => Ok(None),
                (true, false) => Err(HttpError::TooLong),
            };
        };
        let head = seen.get(..end).unwrap_or_default();
        let text = core::str::from_utf8(head).map_err(|_| HttpError::Malformed("head"))?;
        let mut lines = text.split("\r\n");
        let mut head = Self::status_line(lines.next().unwrap_or_default())?;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(HttpError::Malformed("header"))?;
            head.header(name, value.trim())?;
        }
        Ok(Some((head, end + 4)))
    }

    /// Checks that this answers a request for the bytes `first..=last` of a whole that has
    /// `total` bytes, so that a body of exactly that length follows.
    ///
    /// # Errors
    /// [`HttpError::Status`] for any other answer, [`HttpError::WrongRange`] for other bytes.
    pub fn expect_range(&self, first: u64, last: u64, total: u64) -> Result<(), HttpError> {
        let whole = ContentRange {
            first: 0,
            last: total.saturating_sub(1),
            total,
        };
        let got = match self.status {
            206 => self.content_range.ok_or(HttpError::WrongRange)?,
            200 => whole,
            status => return Err(HttpError::Status(status)),
        };
        let wanted = ContentRange { first, last, total };
        let len = last.checked_sub(first).and_then(|n| n.checked_add(1));
        if got != wanted || self.content_length != len {
            return Err(HttpError::WrongRange);
        }
        Ok(())
    }

    fn status_line(line: &str) -> Result<Self, HttpError> {
        let rest = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .ok_or(HttpError::NotHttp)?;
        let status = rest
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .filter(|status| (100..600).contains(status))
            .ok_or(HttpError::Malformed("status"))?;
        Ok(Self {
            status,
            content_length: None,
            content_range: None,
            etag: None,
            content_type: None,
            retry_after: None,
            closes: line.starts_with("HTTP/1.0"),
        })
    }

    fn header(&mut self, name: &str, value: &'a str) -> Result<(), HttpError> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("content-length") {
            let length = number(value).ok_or(HttpError::Malformed("content-length"))?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(HttpError::Malformed("content-length"));
            }
            self.content_length = Some(length);
        } else if is("transfer-encoding") {
            return Err(HttpError::TransferEncoding);
        } else if is("content-encoding") && !value.eq_ignore_ascii_case("identity") {
            return Err(HttpError::ContentEncoding);
        } else if is("content-range") {
            let range = ContentRange::parse(value);
            self.content_range = range;
            if range.is_none() && self.status == 206 {
                return Err(HttpError::Malformed("content-range"));
            }
        } else if is("etag") {
            self.etag = Some(value);
        } else if is("content-type") {
            self.content_type = Some(value);
        } else if is("retry-after") {
            self.retry_after = value.parse().ok();
        } else if is("connection") {
            self.closes |= value.eq_ignore_ascii_case("close");
        }
        Ok(())
    }
}

impl ContentRange {
    fn parse(value: &str) -> Option<Self> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self {
            first: number(first)?,
            last: number(last)?,
            total: number(total)?,
        };
        (range.first <= range.last && range.last < range.total).then_some(range)
    }
}

/// Why an answer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The answer is no HTTP.
    NotHttp,
    /// A head does not fit its limit.
    TooLong,
    /// This part of the head is malformed.
    Malformed(&'static str),
    /// The body is chunked or otherwise wrapped.
    TransferEncoding,
    /// The body is compressed.
    ContentEncoding,
    /// Another status than the one that is needed.
    Status(u16),
    /// Other bytes than the ones asked for.
    WrongRange,
}

impl HttpError {
    /// True when asking again may help; a 4xx and a malformed answer end the attempt.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Status(429 | 500..=599))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("the server's answer is no HTTP"),
            Self::TooLong => write!(f, "an HTTP head is longer than {MAX_HEAD} bytes"),
            Self::Malformed(field) => write!(f, "the HTTP {field} is malformed"),
            Self::TransferEncoding => f.write_str("the server sends a transfer encoding"),
            Self::ContentEncoding => f.write_str("the server sends a content encoding"),
            Self::Status(status @ 300..=399) => {
                write!(
                    f,
                    "the server redirects (HTTP {status}), which is not followed"
                )
            }
            Self::Status(status) => write!(f, "the server answers HTTP {status}"),
            Self::WrongRange => f.write_str("the server sends other bytes than asked for"),
        }
    }
}

impl core::error::Error for HttpError {}

/// Digits only: `str::parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl fmt::Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.at.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.out.get_mut(self.at..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.at = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request {
        method: Method::Get,
        path: "/d/v1/payload",
        host: "updates.example:8443",
        body: None,
        range: Some((100, 199)),
        if_range: Some("\"abc\""),
    };

    fn parse(text: &str) -> Result<Option<(Head<'_>, usize)>, HttpError> {
        Head::parse(text.as_bytes())
    }

    fn head(text: &str) -> Head<'_> {
        parse(text).expect("good").expect("complete").0
    }

    #[test]
    fn a_ranged_request_has_its_bytes() {
        let mut out = [0; 256];
        let len = REQUEST.write(&mut out).expect("fits");
        let text = core::str::from_utf8(&out[..len]).expect("ASCII");
        assert_eq!(
            text,
            "GET /d/v1/payload HTTP/1.1\r\nHost: updates.example:8443\r\n\
             Range: bytes=100-199\r\nIf-Range: \"abc\"\r\n\r\n"
        );
        assert_eq!(REQUEST.write(&mut out[..20]), Err(HttpError::TooLong));
        let split = Request {
            path: "/x\r\nEvil: 1",
            ..REQUEST
        };
        assert_eq!(split.write(&mut out), Err(HttpError::Malformed("path")));
    }

    #[test]
    fn a_partial_answer_is_matched_with_the_question() {
        let text = "HTTP/1.1 206 Partial Content\r\ncontent-length: 100\r\n\
                    Content-Range: bytes 100-199/5000\r\nETag: \"abc\"\r\n\r\nbody";
        let (got, len) = parse(text).expect("good").expect("complete");
        assert_eq!(&text[len..], "body");
        assert_eq!(got.etag, Some("\"abc\""));
        got.expect_range(100, 199, 5000)
            .expect("the bytes asked for");
        for (first, last, total) in [(101, 200, 5000), (100, 198, 5000), (100, 199, 5001)] {
            let error = got.expect_range(first, last, total);
            assert_eq!(error, Err(HttpError::WrongRange));
        }
    }

    #[test]
    fn a_server_that_ignores_the_range_is_told_apart() {
        let whole = head("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
        assert_eq!(
            whole.expect_range(100, 199, 5000),
            Err(HttpError::WrongRange)
        );
        whole
            .expect_range(0, 4999, 5000)
            .expect("the whole was asked for");
    }

    #[test]
    fn a_login_page_and_a_redirect_are_no_answer() {
        let login = head("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n");
        assert_eq!(login.expect_range(0, 8, 9), Err(HttpError::Status(403)));
        let redirect = head("HTTP/1.1 302 Found\r\nLocation: https://x.example/y\r\n\r\n");
        let error = redirect.expect_range(0, 8, 9).expect_err("not followed");
        assert!(!error.is_retryable());
        assert!(HttpError::Status(503).is_retryable());
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |text: &str| parse(text).expect_err("refused");
        let ok = "HTTP/1.1 200 OK\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(chunked), HttpError::TransferEncoding);
        let gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        assert_eq!(refused(gzip), HttpError::ContentEncoding);
        assert_eq!(refused("SSH-2.0-OpenSSH"), HttpError::NotHttp);
        let two = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(refused(two), HttpError::Malformed("content-length"));
        let sign = "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n";
        assert_eq!(refused(sign), HttpError::Malformed("content-length"));
        assert_eq!(parse(ok), Ok(None));
        let mut endless = [b'a'; MAX_HEAD + 1];
        endless[..ok.len()].copy_from_slice(ok.as_bytes());
        assert_eq!(Head::parse(&endless), Err(HttpError::TooLong));
    }
}
