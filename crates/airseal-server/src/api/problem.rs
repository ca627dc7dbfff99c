use airseal_protocol::{CONTENT_TYPE, Message, MessageError, Problem, ProblemCode};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::types::ProblemBody;
use crate::error::StoreError;
use crate::publish::Refusal;

/// A refusal on the device interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceError {
    code: ProblemCode,
    payload_len: Option<u64>,
}

impl DeviceError {
    pub(crate) fn new(code: ProblemCode) -> Self {
        Self {
            code,
            payload_len: None,
        }
    }

    /// 416 with the length that RFC 9110 section 15.5.17 asks for.
    pub(crate) fn range(payload_len: u64) -> Self {
        Self {
            code: ProblemCode::RangeNotSatisfiable,
            payload_len: Some(payload_len),
        }
    }
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::new(match error {
            StoreError::Busy { .. } => ProblemCode::Busy,
            _ => ProblemCode::Internal,
        })
    }
}

impl From<MessageError> for DeviceError {
    fn from(error: MessageError) -> Self {
        tracing::debug!(%error, "malformed message");
        Self::new(match error {
            MessageError::TooLong { .. } => ProblemCode::TooLarge,
            _ => ProblemCode::Malformed,
        })
    }
}

impl IntoResponse for DeviceError {
    fn into_response(self) -> Response {
        let problem = Problem {
            code: self.code.number(),
            title: self.code.title(),
        };
        let mut response = message(&problem);
        *response.status_mut() =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Some(len) = self.payload_len
            && let Ok(value) = HeaderValue::try_from(format!("bytes */{len}"))
        {
            headers.insert(header::CONTENT_RANGE, value);
        }
        if self.code == ProblemCode::Busy {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// Refused lines that an answer names.
const LINES_SHOWN: usize = 20;

/// A message as a 200 answer.
pub(crate) fn message<'a, M: Message<'a>>(message: &M) -> Response {
    let mut buffer = vec![0; M::MAX_LEN];
    match message.encode(&mut buffer) {
        Ok(len) => {
            buffer.truncate(len);
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], buffer).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer does not fit its message");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A refusal on the administrators' interface.
#[derive(Debug)]
pub(crate) struct AdminError {
    status: StatusCode,
    word: &'static str,
    title: &'static str,
    detail: String,
    remedy: Option<String>,
    code: Option<u16>,
}

impl AdminError {
    pub(crate) fn new(
        status: StatusCode,
        word: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            word,
            title,
            detail: detail.into(),
            remedy: None,
            code: None,
        }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a valid administrator token is needed",
            "send it as 'Authorization: Bearer TOKEN'; it was written to the file admin-token of the data directory",
        )
    }

    /// Lines of a list that can't be taken: the first of them, and how many there are.
    pub(crate) fn lines(faults: &[crate::store::LineFault]) -> Self {
        let mut text: Vec<String> = faults
            .iter()
            .take(LINES_SHOWN)
            .map(|fault| format!("line {}: {}", fault.line, fault.what))
            .collect();
        if faults.len() > LINES_SHOWN {
            text.push(format!("and {} more", faults.len() - LINES_SHOWN));
        }
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "lines-refused",
            "nothing is imported",
            text.join("; "),
        )
        .remedy("nothing was imported; correct these lines and import the whole list again")
    }

    /// Says what to do apart from what is wrong; without it the detail says both.
    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn unprocessable(error: &airseal_format::Error, detail: String) -> Self {
        Self {
            code: Some(error.reason.code()),
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                error.reason.word(),
                "the upload is refused",
                detail,
            )
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "the request is not understood",
            detail,
        )
        .remedy("correct it; docs/PROTOCOL.md section 6 lists the fields of each request")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "this method does not apply to this path",
            "docs/PROTOCOL.md section 6 lists the methods of each path",
        )
    }

    pub(crate) fn not_found(what: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", what, detail)
    }

    pub(crate) fn conflict(title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", title, detail)
    }

    fn storage_full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "storage-full",
            "the server's disk is full",
            "nothing was stored; free some space and try again",
        )
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed",
            "its log says why",
        )
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "the server is busy",
                "nothing was changed; try again after the time given",
            ),
            StoreError::Full { .. } => Self::storage_full(),
            error => Self::internal(&error),
        }
    }
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Format(error) => Self::unprocessable(&error, error.to_string())
                .remedy("nothing was stored; airseal verify checks the file before it is published"),
            Refusal::Signers(error, names) => Self::unprocessable(&error, format!("{error}: {names}"))
                .remedy("nothing was stored; let the missing ones sign (airseal cosign), or publish what they signed"),
            Refusal::TooLarge(detail) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the upload is larger than this server takes",
                detail,
            ),
            Refusal::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::storage_full()
            }
            Refusal::Io(error) => Self::internal(&error),
        }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: format!("about:blank#{}", self.word),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            remedy: self.remedy,
            code: self.code,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// Seconds after which a busy server is asked again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");
