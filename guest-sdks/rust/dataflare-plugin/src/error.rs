//! Errors, by what the caller can do about them.

use crate::bindings::imports::dataflare::host::{files::FileError, http::HttpError, plugins::CallError};
use crate::bindings::imports::dataflare::host::{secrets::SecretError, shared::SharedError, state::StateError};

pub use crate::bindings::imports::dataflare::data::batches::DataError;
/// Why a plugin cannot do what it was asked for. The case says what can be done: `InvalidInput` concerns this record or
/// batch, `Unavailable` and `RateLimited` may be tried again, `InvalidConfig` only the operator can correct.
pub use crate::bindings::imports::dataflare::plugin::types::Error;

/// The result of what can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Put a text in front of an error's own, such as the row that it is about.
    pub(crate) fn in_front(self, text: &str) -> Self {
        match self {
            Self::InvalidInput(message) => Self::InvalidInput(format!("{text}{message}")),
            other => other,
        }
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable(text) => Self::Unavailable(text),
            other => Self::Internal(format!("the state: {other:?}")),
        }
    }
}

impl From<SecretError> for Error {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::NotGranted(name) => Self::Denied(format!("the secret {name} is not granted")),
            SecretError::Unavailable(text) => Self::Unavailable(text),
            SecretError::Other(text) => Self::Other(text),
        }
    }
}

impl From<SharedError> for Error {
    fn from(error: SharedError) -> Self {
        match error {
            SharedError::Denied(name) => Self::Denied(format!("the shared batch {name} is not granted")),
            other => Self::Internal(format!("the shared batches: {other:?}")),
        }
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Denied(text) => Self::Denied(text),
            HttpError::ConnectionFailed(text) => Self::Unavailable(text),
            HttpError::TimedOut(milliseconds) => Self::Unavailable(format!("no answer within {milliseconds} ms")),
            HttpError::RateLimited(milliseconds) => Self::RateLimited(milliseconds),
            other => Self::Other(format!("the request: {other:?}")),
        }
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotFound(path) => Self::InvalidConfig(format!("{path}: there is no such file")),
            FileError::Denied(path) => Self::Denied(format!("{path}: access is not granted")),
            FileError::Busy(path) => Self::Unavailable(format!("{path}: it is in use")),
            other => Self::Other(format!("the file: {other:?}")),
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Denied(name) => Self::Denied(format!("the plugin {name} is not granted")),
            other => Self::Other(format!("the other plugin: {other:?}")),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::InvalidInput(format!("the JSON: {error}"))
    }
}
