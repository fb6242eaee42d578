//! Where a secret is, in the place of the secret.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::Raw;
use crate::error::Error;
use crate::id::Secret;
use crate::quota::secret_in;

const EXPECTED: &str = "env:NAME, file:PATH or name:NAME; a secret itself is never written into a policy";

/// Where a secret, or a list of them, is to be found. A policy has nothing but these.
///
/// ```
/// use keyward::policy::Reference;
/// assert_eq!("env:OPENAI_KEYS".parse(), Ok(Reference::Env("OPENAI_KEYS".into())));
/// assert_eq!("name:vault/openai".parse::<Reference>()?.to_string(), "name:vault/openai");
///
/// let error = "sk-ant-123456789".parse::<Reference>().unwrap_err();
/// assert!(!error.to_string().contains("sk-ant"), "what may be a secret is not repeated");
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reference {
    /// `env:NAME`: a variable of the environment.
    Env(String),
    /// `file:PATH`: the contents of a file.
    File(PathBuf),
    /// `name:NAME`: something that the host knows by this name.
    Name(String),
}

impl Reference {
    /// What an environment variable or a file has now: one secret, or several with commas or line ends in between.
    ///
    /// A name is the host's to resolve:
    ///
    /// ```
    /// use keyward::policy::{Policy, Reference};
    /// use keyward::Secret;
    /// let vault = |reference: &Reference| match reference {
    ///     Reference::Name(name) if name == "openai" => Ok(Secret::new("sk-one-11111,sk-two-22222")),
    ///     other => other.read(),
    /// };
    /// let policy: Policy = serde_json::from_str(r#"{"pools": [{"name": "openai", "keys": "name:openai"}]}"#)?;
    /// assert_eq!(policy.build(vault)?.pools[0].len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A variable that is not set or is no text, a file that cannot be read, any name.
    pub fn read(&self) -> Result<Secret, Error> {
        let refused = |expected: String| Error::invalid("reference", self, expected);
        match self {
            Self::Env(name) => std::env::var(name).map(Secret::new).map_err(|error| match error {
                std::env::VarError::NotPresent => refused("a variable that is set".to_owned()),
                std::env::VarError::NotUnicode(_) => refused("a variable whose value is text".to_owned()),
            }),
            Self::File(path) => std::fs::read_to_string(path)
                .map(Secret::new)
                .map_err(|error| refused(format!("a file of text that can be read: {}", error.kind()))),
            Self::Name(_) => Err(refused("env: or file:, unless the host resolves names".to_owned())),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

/// Reads `env:NAME`, `file:PATH`, `name:NAME`. Of anything else it is said what is wrong, and never what it was.
impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let refused = |what: &str| Error::invalid("reference", what, EXPECTED);
        let printable = |text: &str| !text.is_empty() && text.len() <= 4_096 && !text.chars().any(char::is_control);
        match text.split_once(':') {
            _ if secret_in("reference", text).is_err_and(|error| error.value() == Some("a masked secret")) => {
                Err(refused("a masked secret"))
            }
            Some(("env", name)) => {
                let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
                let longest = name.len() <= 256;
                if fits && begins && longest {
                    Ok(Self::Env(name.to_owned()))
                } else {
                    Err(refused("env: with what is no name of a variable"))
                }
            }
            Some(("file", path)) if printable(path) => Ok(Self::File(path.into())),
            Some(("name", name)) if printable(name) => Ok(Self::Name(name.to_owned())),
            Some(("file" | "name", _)) => Err(refused("a reference to nothing")),
            _ if text.is_empty() => Err(refused("nothing")),
            _ => Err(refused("a text that is no reference")),
        }
    }
}

/// What stands where a reference belongs. It may be a secret, and is handled like one until it is known not to be.
#[derive(Clone, PartialEq)]
pub(super) struct Written(Secret);

impl Written {
    /// The reference, if it is one.
    pub(super) fn reference(&self) -> Result<Reference, Error> {
        self.0.expose().parse()
    }
}

impl From<Raw> for Written {
    fn from(raw: Raw) -> Self {
        Self(Secret::new(raw.to_string()))
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer).map(Self::from)
    }
}

/// What is no reference is masked.
impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.reference() {
            Ok(reference) => serializer.collect_str(&reference),
            Err(_) => serializer.serialize_str("…"),
        }
    }
}
