//! Credentials for the broker: a JWT, which says who somebody is and what he may do, and the seed
//! of the nkey that proves it.
//!
//! They are read anew for each connection: a JWT runs out, and whoever renews it replaces the file.

use std::path::Path;

use async_nats::Auth;
use nkeys::KeyPair;

use crate::error::{Error, Result};

/// What a file of credentials has.
pub(crate) struct Credentials {
    jwt: String,
    pair: KeyPair,
}

impl Credentials {
    /// Reads a file, as `nsc generate creds` writes it.
    ///
    /// # Errors
    /// It cannot be read, or is something else. Nothing of what it has is told.
    pub(crate) fn read(path: &Path) -> Result<Credentials> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::config(format!("cannot read the credentials {}: {why}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let jwt = block(&text, "NATS USER JWT").ok_or_else(|| wrong(&"there is no JWT in it"))?;
        let seed =
            block(&text, "USER NKEY SEED").ok_or_else(|| wrong(&"there is no nkey in it"))?;
        let pair = KeyPair::from_seed(seed).map_err(|_| wrong(&"its nkey is none"))?;
        Ok(Credentials { jwt: jwt.to_owned(), pair })
    }

    /// Proves to the broker that they are ours.
    ///
    /// # Errors
    /// The nkey cannot sign.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth> {
        let sign = |_| Error::config("cannot sign with the nkey of the credentials");
        let mut auth = Auth::new();
        auth.jwt = Some(self.jwt.clone());
        auth.signature = Some(self.pair.sign(nonce).map_err(sign)?);
        Ok(auth)
    }
}

/// The line between `-----BEGIN name-----` and the next one with dashes.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {name}-");
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains(&begin))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_or_refused_without_their_secrets() {
        let path = std::env::temp_dir().join(format!("credentials-{}", std::process::id()));
        let seed = KeyPair::new_user().seed().expect("a seed");
        let jwt = "-----BEGIN NATS USER JWT-----\r\na.b.c\r\n------END NATS USER JWT------\r\n";
        let nkey = |seed: &str| {
            format!("\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")
        };
        std::fs::write(&path, format!("{jwt}\n*** IMPORTANT ***\n{}", nkey(&seed))).expect("wrote");
        let read = Credentials::read(&path).expect("read");
        let auth = read.answer(b"nonce").expect("signed");
        assert_eq!(auth.jwt.as_deref(), Some("a.b.c"));
        assert!(read.pair.verify(b"nonce", &auth.signature.expect("a signature")).is_ok());
        for (text, says) in [
            (String::new(), "no JWT"),
            (jwt.to_owned(), "no nkey"),
            (format!("{jwt}{}", nkey("")), "no nkey"),
            (format!("{jwt}{}", nkey("SUASECRET")), "its nkey is none"),
        ] {
            std::fs::write(&path, text).expect("wrote");
            let error = Credentials::read(&path).err().expect("refused").to_string();
            assert!(error.contains(says) && !error.contains("SECRET"), "{error}");
        }
        std::fs::remove_file(&path).expect("removed");
        let error = Credentials::read(&path).err().expect("refused").to_string();
        assert!(error.contains("No such file"), "{error}");
    }
}
