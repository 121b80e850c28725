// SPDX-License-Identifier: GPL-2.0

//! What a command can end with.

/// What a command can end with, but for success.
pub(crate) enum Failure {
    /// One line that says what went wrong.
    Error(String),
    /// One line that says why a file is not what it should be: missing, or with wrong contents.
    /// Unlike other errors, that is still so when it is tried again, by whomever.
    Unusable(String),
    /// There is something wrong, and it has been said.
    Said,
    /// There is something wrong with the file that was to be checked, and it has been said.
    Inconsistent,
    /// Nobody reads what is printed.
    Unread,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Error(text)
    }
}

/// What a command, or a part of it, comes to.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;
