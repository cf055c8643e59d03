//! Operators, accounts and users of a broker in operator mode, as `nsc` makes them: JWTs that are
//! signed by nkeys.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;

/// An operator with an account, which makes users.
pub(crate) struct Operator {
    /// What a broker is told, so that it knows the account's users.
    pub(crate) config: String,
    account: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Operator {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let system = KeyPair::new_account();
        let own = token(&operator, &operator, "", "\"type\": \"operator\", \"version\": 2");
        // Without limits; those of the store are none unless they are said.
        let limits = "\"subs\": -1, \"data\": -1, \"payload\": -1, \"imports\": -1, \
                      \"exports\": -1, \"conn\": -1, \"leaf\": -1";
        let store = ", \"mem_storage\": -1, \"disk_storage\": -1, \"streams\": -1, \
                     \"consumer\": -1";
        let of_account = |pair: &KeyPair, store: &str| {
            let claims =
                format!("\"limits\": {{ {limits}{store} }}, \"type\": \"account\", \"version\": 2");
            format!("{}: \"{}\"", pair.public_key(), token(&operator, pair, "", &claims))
        };
        let config = format!(
            "operator: \"{own}\"\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload: {{ {}\n {} }}\n",
            system.public_key(),
            of_account(&account, store),
            of_account(&system, ""),
        );
        Operator { config, account }
    }

    /// A user's credentials, as the text of their file. They run out so many seconds from now, if at
    /// all.
    pub(crate) fn user(&self, runs_out: Option<i64>) -> String {
        let user = KeyPair::new_user();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
        let now = i64::try_from(now).expect("a time");
        let end = runs_out.map_or(String::new(), |after| format!("\"exp\": {}, ", now + after));
        let claims = "\"pub\": {}, \"sub\": {}, \"subs\": -1, \"data\": -1, \"payload\": -1, \
                      \"type\": \"user\", \"version\": 2";
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(&self.account, &user, &end, claims),
            user.seed().expect("a seed"),
        )
    }
}

/// A JWT about `subject`, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &KeyPair, end: &str, claims: &str) -> String {
    let head = BASE64URL_NOPAD.encode(b"{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}");
    let body = format!(
        "{{ \"jti\": \"1\", \"iat\": 1, {end}\"iss\": \"{}\", \"name\": \"a name\", \
         \"sub\": \"{}\", \"nats\": {{ {claims} }} }}",
        issuer.public_key(),
        subject.public_key(),
    );
    let signed = format!("{head}.{}", BASE64URL_NOPAD.encode(body.as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).expect("signed");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
